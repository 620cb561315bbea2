/* The common part of the zoo's animals: each echoes the data, except "bite".
 *
 * An animal defines ZOO_NAME, includes this file, and defines bite(). If its hostile part is another function, it
 * defines ZOO_OWN_INIT, ZOO_OWN_SHUTDOWN or ZOO_OWN_FREE first, and that function afterwards.
 *
 * No animal harms anything but the process that loads it and that process's children, and none outlives ZOO_LIFETIME,
 * so an animal that escapes from a broken host fails a test but does not break the machine.
 */
#ifndef ZOO_H
#define ZOO_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <backworks_plugin.h>

#include <signal.h>
#include <time.h>
#include <unistd.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <io.h>
#include <windows.h>
#else
#include <pthread.h>
#endif

/* Seconds; forever as far as a test is concerned. */
#define ZOO_LIFETIME 60

BACKWORKS_PLUGIN(ZOO_NAME, "1.0.0", "description": "An animal of the zoo")

struct backworks_plugin {
  const backworks_host *host;
};

/* Does the harm. Returns the result of the call, if it returns. */
static int32_t
bite(backworks_plugin *plugin, backworks_response *response);

/* Does nothing, forever. */
static inline void
zoo_hang(void)
{
  time_t end = time(NULL) + ZOO_LIFETIME;

  while (time(NULL) < end) {
#ifdef _WIN32
    Sleep(1000);
#else
    sleep(1);
#endif
  }
  _exit(99);
}

#ifndef _WIN32
/* Becomes a child that does nothing, forever. */
static inline void
zoo_linger(void)
{
  signal(SIGTERM, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  zoo_hang();
}
#endif

#ifndef ZOO_OWN_FREE
BACKWORKS_PLUGIN_FREE_STRING
#endif

#ifndef ZOO_OWN_INIT
int32_t
backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size, backworks_plugin **out,
                      backworks_response *error)
{
  backworks_plugin *plugin = (backworks_plugin *)malloc(sizeof *plugin);

  (void)config;
  (void)config_size;
  if (plugin == NULL) {
    return backworks_fail(error, BACKWORKS_RESOURCE_EXHAUSTED, "no memory");
  }
  plugin->host = host;
  *out = plugin;
  return BACKWORKS_OK;
}
#endif

int32_t
backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                       backworks_response *response)
{
  if (backworks_equal(request->data, request->data_size, "bite")) {
    return bite(plugin, response);
  }
  return backworks_answer(response, request->data, request->data_size);
}

#ifndef ZOO_OWN_SHUTDOWN
int32_t
backworks_plugin_shutdown(backworks_plugin *plugin)
{
  free(plugin);
  return BACKWORKS_OK;
}
#endif

#ifdef ZOO_TAME
static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  return backworks_answer(response, "tame", 4);
}
#endif

#endif
