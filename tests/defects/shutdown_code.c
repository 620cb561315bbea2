/* Returns an error from a successful shutdown. */
#define OWN_SHUTDOWN
#include "good.h"

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  free(plugin->config);
  free(plugin);
  return BACKWORKS_INTERNAL;
}
