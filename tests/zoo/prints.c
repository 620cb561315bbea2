/* Writes bytes that look like frames to stdout, through the C library and directly. */
#define ZOO_NAME "prints"
#include "zoo.h"

#include <fcntl.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  static const unsigned char frame[24] = {8, 0, 0, 0, 130, 0, 0, 0, 1};
  int i;

  (void)plugin;
  printf("hello from stdout\n");
  for (i = 0; i < 1000; i++) {
    if (write(STDOUT_FILENO, frame, sizeof frame) < 0) {
      return backworks_fail(response, BACKWORKS_INTERNAL, "stdout is closed");
    }
  }
  printf("\ngoodbye from stdout\n");
  fflush(stdout);
  return backworks_answer(response, "printed", 7);
}
