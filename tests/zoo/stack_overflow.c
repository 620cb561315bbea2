/* Recurses until the stack overflows. */
#define ZOO_NAME "stack-overflow"
#include "zoo.h"

static int
deeper(int depth)
{
  volatile char frame[4096];
  int (*volatile again)(int) = deeper;

  frame[0] = (char)depth;
  return again(depth + 1) + frame[0];
}

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  return deeper(0);
}
