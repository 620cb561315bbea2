/* SPDX-License-Identifier: MIT
 *
 * The plugin's resource limits, on POSIX. */
#include <errno.h>
#include <sys/resource.h>

#include "platform.h"

/* The stack of the main thread, which calls the plugin: infinite recursion must overflow it, even if the system sets no
 * limit. */
#define MOST_STACK ((rlim_t)64 << 20)

#if defined(__linux__)
#define MEMORY RLIMIT_DATA /* private writable memory; RLIMIT_AS would also count reservations */
#else
#define MEMORY RLIMIT_AS
#endif

/* glibc declares setrlimit with an enumeration. */
#if defined(__GLIBC__) && defined(__USE_GNU)
typedef __rlimit_resource_t resource;
#else
typedef int resource;
#endif

static bool
limit(resource which, uint64_t soft, uint64_t hard)
{
  struct rlimit old, new;

  if (getrlimit(which, &old) != 0) {
    return false;
  }
  /* Never raises a limit that the process already has. */
  new.rlim_max = hard < old.rlim_max ? (rlim_t)hard : old.rlim_max;
  new.rlim_cur = soft < new.rlim_max ? (rlim_t)soft : new.rlim_max;
  return setrlimit(which, &new) == 0;
}

const char *
platform_limit(const struct start *start, uint32_t *error)
{
  /* A plugin can ignore the signal of the soft limit, but not that of the hard limit one second later. */
  const struct {
    const char *name;
    resource which;
    uint64_t soft;
    uint64_t more;
  } limits[] = {
    { "memory", MEMORY, start->memory, 0 },
    { "cpu_time", RLIMIT_CPU, start->cpu_seconds, 1 },
    { "open_files", RLIMIT_NOFILE, start->files, 0 },
    { "processes", RLIMIT_NPROC, start->processes, 0 },
  };
  struct rlimit stack;
  size_t i;

  /* A worker that crashes repeatedly must not fill the disk. */
  *error = 0;
  if (!limit(RLIMIT_CORE, 0, 0)) {
    *error = (uint32_t)errno;
    return "core";
  }
  if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur > MOST_STACK) {
    stack.rlim_cur = MOST_STACK;
    (void)setrlimit(RLIMIT_STACK, &stack);
  }
  for (i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    if (limits[i].soft > 0 && !limit(limits[i].which, limits[i].soft, limits[i].soft + limits[i].more)) {
      *error = (uint32_t)errno;
      return limits[i].name;
    }
  }
  return NULL;
}
