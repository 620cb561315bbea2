/* Leaves behind a daemon (its own session, its parent gone), and returns normally. */
#define ZOO_NAME "leaves-daemon"
#include "zoo.h"

#include <sys/wait.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  pid_t child = fork();

  (void)plugin;
  if (child == 0) {
    setsid();
    if (fork() == 0) {
      zoo_linger();
    }
    _exit(0);
  }
  if (child > 0) {
    waitpid(child, NULL, 0);
  }
  return child < 0 ? BACKWORKS_RESOURCE_EXHAUSTED : backworks_answer(response, "born", 4);
}
