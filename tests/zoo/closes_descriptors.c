/* Closes the descriptors 0 to 1023. */
#define ZOO_NAME "closes-descriptors"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  int i;

  (void)plugin;
  for (i = 0; i < 1024; i++) {
    close(i);
  }
  return backworks_answer(response, "closed", 6);
}
