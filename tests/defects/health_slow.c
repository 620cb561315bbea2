/* Needs more than a second for a health check. */
#define OWN_HEALTH_CHECK
#include <unistd.h>
#include "good.h"

int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {
  (void)plugin;
  usleep(1100000);
  return backworks_answer(response, "well", 4);
}
