/* Returns an error from a shutdown that went well. */
#define OWN_SHUTDOWN
#include "good.h"

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  free(plugin->config);
  free(plugin);
  return BACKWORKS_INTERNAL;
}
