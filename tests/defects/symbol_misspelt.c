/* Exports a health check under a name that no host looks up. */
#define OWN_HEALTH_CHECK
#include "good.h"

BACKWORKS_EXPORT int32_t backworks_plugin_heath_check(backworks_plugin *plugin, backworks_response *response);

int32_t backworks_plugin_heath_check(backworks_plugin *plugin, backworks_response *response) {
  (void)plugin;
  return backworks_answer(response, "well", 4);
}
