/* Returns the same instance for every init. */
#define OWN_INIT
#define OWN_SHUTDOWN
#include "good.h"

static backworks_plugin only;

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  only.host = host;
  *out = is_object(config, config_size) ? &only : NULL;
  if (*out == NULL) {
    return backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "the configuration is no JSON object");
  }
  return keep_config(*out, config, config_size, error);
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  free(plugin->config);
  plugin->config = NULL;
  return BACKWORKS_OK;
}
