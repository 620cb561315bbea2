/* Calls abort(). */
#define ZOO_NAME "aborts"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  abort();
}
