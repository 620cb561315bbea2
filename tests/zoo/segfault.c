/* Writes through a NULL pointer. */
#define ZOO_NAME "segfault"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  volatile int *volatile nowhere = NULL;

  (void)plugin;
  (void)response;
  *nowhere = 1;
  return BACKWORKS_OK;
}
