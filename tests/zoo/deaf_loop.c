/* Computes forever with all signals blocked. */
#define ZOO_NAME "deaf-loop"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  time_t end = time(NULL) + ZOO_LIFETIME;
  sigset_t all;

  (void)plugin;
  (void)response;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  while (time(NULL) < end) {
  }
  _exit(99);
}
