/* Crashes while a daemon that it started holds all of its descriptors. */
#define ZOO_NAME "crashes-with-daemon"
#include "zoo.h"

#include <sys/wait.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  pid_t child = fork();

  (void)plugin;
  (void)response;
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
  abort();
}
