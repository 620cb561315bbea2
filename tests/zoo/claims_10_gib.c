/* Claims a response of 10 GiB, but has a few bytes. */
#define ZOO_NAME "claims-10-gib"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  int32_t code = backworks_answer(response, "small", 5);

  (void)plugin;
  response->size = (size_t)10 << 30;
  return code;
}
