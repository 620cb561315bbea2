/* Keeps writing random bytes to every shared mapping, including the mailbox. */
#define ZOO_NAME "scribbles"
#include "zoo.h"

#include <inttypes.h>

/* Xorshift: quality does not matter, speed does. */
static uint64_t
next(uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void *
scribble(void *unused)
{
  time_t end = time(NULL) + ZOO_LIFETIME;
  uint64_t state = 88172645463325252u;

  (void)unused;
  while (time(NULL) < end) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
      uint64_t start, stop;
      char mode[5];
      int i;

      if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &stop, mode) == 3 && strcmp(mode, "rw-s") == 0) {
        /* Mostly the first page, which holds the handover. */
        for (i = 0; i < 20000; i++) {
          uint64_t span = i % 16 == 0 ? stop - start : 4096;
          uint64_t at = start + next(&state) % span / 8 * 8;

          *(volatile uint64_t *)(uintptr_t)at = i % 3 == 0 ? next(&state) % 16 : next(&state);
        }
      }
    }
    if (maps != NULL) {
      fclose(maps);
    }
  }
  return NULL;
}

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  pthread_t thread;

  (void)plugin;
  if (pthread_create(&thread, NULL, scribble, NULL) != 0) {
    return BACKWORKS_INTERNAL;
  }
  pthread_detach(thread);
  return backworks_answer(response, "scribbled", 9);
}
