/* Kills its process group, which the host must not belong to. */
#define ZOO_NAME "kills-group"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  if (getpgrp() == getpid()) {
    kill(0, SIGKILL);
  }
  return BACKWORKS_INTERNAL;
}
