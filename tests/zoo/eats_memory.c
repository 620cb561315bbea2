/* Allocates all the memory it can get, writes to it and keeps it. */
#define ZOO_NAME "eats-memory"
#include "zoo.h"

/* Where it stops if nothing limits it, in MiB: less than the memory of any machine that runs this. */
#define MOST 512

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  int eaten = 0;
  void *piece;

  (void)plugin;
  while (eaten < MOST && (piece = malloc(1 << 20)) != NULL) {
    memset(piece, 1, 1 << 20);
    eaten++;
  }
  if (eaten == MOST) {
    return backworks_answer(response, "no limit", 8);
  }
  return backworks_fail(response, BACKWORKS_RESOURCE_EXHAUSTED, "no memory after %d MiB", eaten);
}
