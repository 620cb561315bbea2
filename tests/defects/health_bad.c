/* Is unhealthy right after its start. */
#define OWN_HEALTH_CHECK
#include "good.h"

int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {
  (void)plugin;
  return backworks_fail(response, BACKWORKS_UNAVAILABLE, "still asleep");
}
