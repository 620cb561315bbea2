/* A complete plugin that obeys every rule; each file next to this one breaks one rule.
 *
 * A file redefines some of the steps below, then includes this file; or it defines OWN_<function>, and that function
 * after the include. The rule that it breaks is stated in its first line and in the table of
 * tests/seeded.py.
 *
 *   /no/such/endpoint, or data that begins with '!'   returns an error
 *   anything else                                     returns the data
 */
#ifndef GOOD_H
#define GOOD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <backworks_plugin.h>

#ifndef NAME
#define NAME "defect"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef MEMBERS
#define MEMBERS "\"description\": \"Breaks one rule\""
#endif
#ifndef MANIFEST
#define MANIFEST "{\"abi\": 1, \"name\": \"defect\", \"version\": \"1.0.0\", " MEMBERS "}"
#endif

/* The steps: what a file defines here is executed in addition. */
#ifndef ON_INIT /* with `plugin`, `host`, `config`, `config_size`, after init has succeeded */
#define ON_INIT
#endif
#ifndef ON_CONFIG /* with `config`, `config_size`, before they are read */
#define ON_CONFIG
#endif
#ifndef ON_REFUSAL /* with `host`, `out`, after an invalid configuration */
#define ON_REFUSAL
#endif
#ifndef ON_CALL /* with `plugin`, `request`, `response` */
#define ON_CALL
#endif
#ifndef ON_ANSWER /* the same, after a response was stored */
#define ON_ANSWER
#endif
#ifndef ON_ERROR /* the same, after an error was stored */
#define ON_ERROR
#endif
#ifndef ON_SHUTDOWN /* with `plugin`, before it is freed */
#define ON_SHUTDOWN
#endif

struct backworks_plugin {
  const backworks_host *host;
  char *config;
  size_t config_size;
  char scratch[64];
};

#ifndef OWN_MANIFEST
BACKWORKS_PLUGIN_MANIFEST(MANIFEST)
#endif

#ifndef OWN_ABI_VERSION
uint32_t backworks_plugin_abi_version(void) { return BACKWORKS_ABI_VERSION; }
#endif

#ifndef OWN_NAME
const char *backworks_plugin_name(void) { return NAME; }
#endif

#ifndef OWN_VERSION
const char *backworks_plugin_version(void) { return VERSION; }
#endif

#ifndef OWN_DESCRIPTION
const char *backworks_plugin_description(void) { return "Breaks one rule"; }
#endif

#ifndef OWN_FREE_STRING
BACKWORKS_PLUGIN_FREE_STRING
#endif

static inline int is_object(const char *config, size_t size) {
  return size >= 2 && config[0] == '{' && config[size - 1] == '}';
}

/* Copies a configuration; returns the code. */
static inline int32_t keep_config(backworks_plugin *plugin, const char *config, size_t config_size,
                                  backworks_response *error) {
  char *copy;
  if (!is_object(config, config_size)) {
    return backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "the configuration is not a JSON object");
  }
  copy = malloc(config_size);
  if (copy == NULL) {
    return backworks_fail(error, BACKWORKS_RESOURCE_EXHAUSTED, "no memory");
  }
  memcpy(copy, config, config_size);
  free(plugin->config);
  plugin->config = copy;
  plugin->config_size = config_size;
  return BACKWORKS_OK;
}

#ifndef OWN_INIT
int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  backworks_plugin *plugin;
  int32_t code;
  ON_CONFIG
  plugin = calloc(1, sizeof *plugin);
  if (plugin == NULL) {
    return backworks_fail(error, BACKWORKS_RESOURCE_EXHAUSTED, "no memory");
  }
  plugin->host = host;
  code = keep_config(plugin, config, config_size, error);
  if (code != BACKWORKS_OK) {
    free(plugin);
    ON_REFUSAL
    return code;
  }
  backworks_log(host, BACKWORKS_DEBUG, "an instance was created");
  ON_INIT
  *out = plugin;
  return BACKWORKS_OK;
}
#endif

#ifndef OWN_PROCESS
int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  int32_t code;
  (void)plugin;
  ON_CALL
  if (backworks_equal(request->endpoint, request->endpoint_size, "/no/such/endpoint") ||
      (request->data_size > 0 && request->data[0] == '!')) {
    code = backworks_fail(response, BACKWORKS_NOT_FOUND, "there is no such endpoint");
    ON_ERROR
    return code;
  }
  backworks_set_content_type(response, "text/plain");
  response->headers = "X-Defect: none\r\nX-Other: a b\r\n";
  response->headers_size = strlen(response->headers);
  code = backworks_answer(response, request->data, request->data_size);
  ON_ANSWER
  return code;
}
#endif

#ifndef OWN_HEALTH_CHECK
int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {
  (void)plugin;
  return backworks_answer(response, "well", 4);
}
#endif

#ifndef OWN_RECONFIGURE
int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config, size_t config_size,
                                     backworks_response *error) {
  return keep_config(plugin, config, config_size, error);
}
#endif

#ifndef OWN_SHUTDOWN
int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  ON_SHUTDOWN
  free(plugin->config);
  free(plugin);
  return BACKWORKS_OK;
}
#endif

#endif
