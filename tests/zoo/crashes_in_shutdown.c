/* Crashes in shutdown. */
#define ZOO_NAME "crashes-in-shutdown"
#define ZOO_OWN_SHUTDOWN
#define ZOO_TAME
#include "zoo.h"

int32_t
backworks_plugin_shutdown(backworks_plugin *plugin)
{
  (void)plugin;
  abort();
}
