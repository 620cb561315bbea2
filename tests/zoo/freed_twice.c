/* Frees its response twice. */
#define ZOO_NAME "freed-twice"
#define ZOO_OWN_FREE
#include "zoo.h"

static int biting;

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  biting = 1;
  return backworks_answer(response, "twice", 5);
}

void
backworks_plugin_free_string(char *data, size_t size)
{
  char *volatile again = data;

  (void)size;
  free(data);
  if (biting) {
    free(again);
    abort(); /* if the allocator has not noticed */
  }
}
