/* Computes forever. */
#define ZOO_NAME "endless-loop"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  time_t end = time(NULL) + ZOO_LIFETIME;

  (void)plugin;
  (void)response;
  while (time(NULL) < end) {
  }
  _exit(99);
}
