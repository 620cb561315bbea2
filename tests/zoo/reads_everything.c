/* Reads everything from every open descriptor, including further requests, and returns normally. */
#define ZOO_NAME "reads-everything"
#include "zoo.h"

#include <fcntl.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  char taken[4096];
  int i;

  (void)plugin;
  for (i = 0; i < 1024; i++) {
    int flags = fcntl(i, F_GETFL);

    if (flags != -1 && (flags & O_ACCMODE) != O_WRONLY) {
      fcntl(i, F_SETFL, flags | O_NONBLOCK);
      while (read(i, taken, sizeof taken) == (ssize_t)sizeof taken) {
      }
    }
  }
  return backworks_answer(response, "read", 4);
}
