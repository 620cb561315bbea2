/* Sends a response with a size but a NULL pointer. */
#define ZOO_NAME "null-with-size"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  response->data = NULL;
  response->size = 5;
  return BACKWORKS_OK;
}
