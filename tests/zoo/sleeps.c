/* Sleeps forever. */
#define ZOO_NAME "sleeps"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  zoo_hang();
  return BACKWORKS_OK;
}
