/* SPDX-License-Identifier: MIT
 *
 * Ends the processes that the plugin has started, on POSIX. The host ends the process group of the worker. A process
 * that has left the group is found here, if the system supports that: on Linux, the kernel makes the guardian, or a
 * worker without one, the parent of every orphan among its descendants.
 *
 * This runs concurrently with a plugin that may hold any lock, such as malloc's, so it only uses system calls. */
#include "platform.h"
#include "posix.h"

#if defined(__linux__)

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The maximum number of searches. The children of a killed process become children of this one, so another search is
 * necessary. */
#define ROUNDS 200
#define PAUSE 1000000 /* nanoseconds */

struct entry { /* the format of getdents64 */
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

static void
kill_process(pid_t process)
{
  (void)kill(process, SIGKILL);
}

/* Kills a child that only this thread reaps, together with its process group. The kernel signals all members at once,
 * so a process that starts another and exits does not get ahead. */
static void
kill_group(pid_t process)
{
  const pid_t group = getpgid(process);

  if (group > 1 && group != getpgrp()) {
    (void)kill(-group, SIGKILL);
  }
  (void)kill(process, SIGKILL);
}

/* Passes the process ids in a file of /proc to a function. Returns whether there are any. */
static bool
kill_listed(const char *path, void (*end)(pid_t))
{
  char text[512];
  bool any = false;
  pid_t number = 0;
  ssize_t got, i;
  int fd = open(path, O_RDONLY | O_CLOEXEC);

  if (fd < 0) {
    return false;
  }
  while ((got = read(fd, text, sizeof text)) > 0) {
    for (i = 0; i < got; i++) {
      if (text[i] >= '0' && text[i] <= '9') {
        number = number * 10 + (text[i] - '0');
      } else if (number > 0) {
        any = true;
        end(number);
        number = 0;
      }
    }
  }
  (void)close(fd);
  return any;
}

/* The kernel lists children by thread. */
static bool
kill_all(void (*end)(pid_t))
{
  union {
    struct entry first; /* for its alignment */
    char bytes[1024];
  } buffer;
  char path[64];
  bool any = false;
  long got, at;
  int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0) {
    return false;
  }
  while ((got = syscall(SYS_getdents64, fd, buffer.bytes, sizeof buffer.bytes)) > 0) {
    for (at = 0; at < got;) {
      const struct entry *entry = (const void *)(buffer.bytes + at);

      at += entry->size;
      if (entry->name[0] != '.') {
        (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/children", entry->name);
        any = kill_listed(path, end) || any;
      }
    }
  }
  (void)close(fd);
  return any;
}

void
platform_end_children(void)
{
  const struct timespec pause = { 0, PAUSE };
  int round;

  for (round = 0; round < ROUNDS && kill_all(kill_process); round++) {
    if (waitpid(-1, NULL, WNOHANG) <= 0) {
      (void)nanosleep(&pause, NULL);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
  }
}

void
posix_adopt_orphans(void)
{
  (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

void
posix_kill_orphans(void)
{
  (void)kill_all(kill_group);
}

#else

void
platform_end_children(void)
{
}

#endif
