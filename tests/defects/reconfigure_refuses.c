/* Rejects the configuration that it already has. */
#define OWN_RECONFIGURE
#include "good.h"

int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config, size_t config_size,
                                     backworks_response *error) {
  (void)plugin;
  (void)config;
  (void)config_size;
  return backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "it is configured already");
}
