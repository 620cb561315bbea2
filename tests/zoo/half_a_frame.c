/* Writes the beginning of a huge frame to every pipe, then sleeps. */
#define ZOO_NAME "half-a-frame"
#include "zoo.h"

#include <fcntl.h>
#include <sys/stat.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  /* The header of a 1 GiB REPLY to the first request. */
  static const unsigned char header[16] = {0, 0, 0, 0x40, 130, 0, 0, 0, 1};
  struct stat status;
  int i;

  (void)plugin;
  (void)response;
  for (i = 0; i < 1024; i++) {
    if (fstat(i, &status) == 0 && S_ISFIFO(status.st_mode) && write(i, header, sizeof header) < 0) {
      continue;
    }
  }
  zoo_hang();
  return BACKWORKS_OK;
}
