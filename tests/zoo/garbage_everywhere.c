/* Writes garbage to every open descriptor, and returns normally. */
#define ZOO_NAME "garbage-everywhere"
#include "zoo.h"

#include <fcntl.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  char garbage[256];
  int i;

  (void)plugin;
  memset(garbage, 0xA5, sizeof garbage);
  for (i = 0; i < 1024; i++) {
    int flags = fcntl(i, F_GETFL);

    if (flags != -1 && (flags & O_ACCMODE) != O_RDONLY) {
      fcntl(i, F_SETFL, flags | O_NONBLOCK);
      if (write(i, garbage, sizeof garbage) < 0) {
        continue;
      }
    }
  }
  return backworks_answer(response, "littered", 8);
}
