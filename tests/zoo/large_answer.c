/* Sends a valid response of 96 MiB. */
#define ZOO_NAME "large-answer"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  size_t size = (size_t)96 << 20;

  (void)plugin;
  return backworks_answer_owned(response, calloc(size, 1), size);
}
