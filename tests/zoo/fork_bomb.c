/* Forks, as do its children, as often as the system and the limit below allow. */
#define ZOO_NAME "fork-bomb"
#include "zoo.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* The bomb's own limit: users without one, such as root, must survive it too. */
#define MOST 40

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  atomic_int *count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char text[64];
  pid_t me = getpid();

  (void)plugin;
  if (count == MAP_FAILED) {
    return backworks_fail(response, BACKWORKS_RESOURCE_EXHAUSTED, "no memory to count in");
  }
  while (atomic_fetch_add(count, 1) < MOST) {
    if (fork() < 0) {
      break;
    }
  }
  if (getpid() != me) {
    zoo_linger();
  }
  return backworks_answer(response, text, (size_t)snprintf(text, sizeof text, "boom"));
}
