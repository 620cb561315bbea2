/* Stops its own process, as Ctrl-Z does. */
#define ZOO_NAME "stops-itself"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  raise(SIGSTOP);
  return BACKWORKS_OK;
}
