/* Leaves behind a child that ignores signals to terminate, and returns normally. */
#define ZOO_NAME "leaves-child"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  pid_t child = fork();

  (void)plugin;
  if (child == 0) {
    zoo_linger();
  }
  return child < 0 ? BACKWORKS_RESOURCE_EXHAUSTED : backworks_answer(response, "born", 4);
}
