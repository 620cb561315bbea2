/* Crashes while a child holds all of its descriptors, so that none of its pipes reaches its end. */
#define ZOO_NAME "crashes-with-child"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  if (fork() == 0) {
    zoo_linger();
  }
  abort();
}
