/* Writes 8 MiB of lines to stderr, then an unterminated line of 1 MiB. */
#define ZOO_NAME "floods-stderr"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  static char line[1 << 16];
  int i;

  (void)plugin;
  for (i = 0; i < (1 << 16); i++) {
    line[i] = (i % 64 == 63) ? '\n' : 'f';
  }
  for (i = 0; i < 128; i++) {
    if (write(STDERR_FILENO, line, sizeof line) < 0) {
      return backworks_fail(response, BACKWORKS_INTERNAL, "stderr is closed");
    }
  }
  memset(line, 'u', sizeof line);
  for (i = 0; i < 16; i++) {
    if (write(STDERR_FILENO, line, sizeof line) < 0) {
      return backworks_fail(response, BACKWORKS_INTERNAL, "stderr is closed");
    }
  }
  return backworks_answer(response, "flooded", 7);
}
