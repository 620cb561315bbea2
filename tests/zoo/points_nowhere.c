/* Sends a response that points to unmapped memory. */
#define ZOO_NAME "points-nowhere"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  response->data = (char *)(uintptr_t)16;
  response->size = 100;
  return BACKWORKS_OK;
}
