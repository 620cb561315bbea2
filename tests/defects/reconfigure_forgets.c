/* Breaks when it rejects a configuration. */
#define OWN_RECONFIGURE
#define ON_CALL if (plugin->config == NULL) return backworks_fail(response, BACKWORKS_INTERNAL, "no configuration");
#include "good.h"

int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config, size_t config_size,
                                     backworks_response *error) {
  free(plugin->config);
  plugin->config = NULL;
  return keep_config(plugin, config, config_size, error);
}
