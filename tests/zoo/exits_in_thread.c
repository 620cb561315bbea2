/* Exits from a thread that it started, while the call waits. */
#define ZOO_NAME "exits-in-thread"
#include "zoo.h"

static void *
leave(void *unused)
{
  (void)unused;
  _exit(7);
}

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  pthread_t thread;

  (void)plugin;
  (void)response;
  if (pthread_create(&thread, NULL, leave, NULL) == 0) {
    pthread_join(thread, NULL);
  }
  return BACKWORKS_INTERNAL;
}
