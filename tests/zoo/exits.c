/* Exits with code 0. */
#define ZOO_NAME "exits"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  exit(0);
}
