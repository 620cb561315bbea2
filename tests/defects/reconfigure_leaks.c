/* Leaks the configuration that a new one replaces. */
#define OWN_RECONFIGURE
#include "good.h"

int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config, size_t config_size,
                                     backworks_response *error) {
  char *old = plugin->config;
  int32_t code;
  plugin->config = NULL;
  code = keep_config(plugin, config, config_size, error);
  if (code != BACKWORKS_OK) plugin->config = old;
  return code;
}
