/* SPDX-License-Identifier: MIT
 *
 * A thread that ends this process, and all that the plugin started, when the host is gone, on POSIX. It cannot be left
 * to the main thread, which may be inside the plugin, nor to PR_SET_PDEATHSIG, which fires when the thread ends that
 * started the worker. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"
#include "posix.h"

#if defined(__linux__)
#include <sys/syscall.h>
#endif

/* It has no large variables; a sanitizer wants more than the least that a system allows. */
#define STACK ((size_t)128 << 10)

/* Where the kernel does not tell that the host has died, its number is looked at so often. */
#define LOOK 1000

static descriptor pipe_end;
static pid_t parent;
static int parent_fd = -1;
static atomic_bool ending;

static void *
watch(void *unused)
{
  struct pollfd ends[2] = { { .fd = (int)pipe_end }, { .fd = parent_fd, .events = POLLIN } };

  (void)unused;
  for (;;) {
    int found = poll(ends, 2, parent_fd >= 0 ? -1 : LOOK);

    if (found > 0 || getppid() != parent) {
      break;
    }
    if (found < 0) { /* the plugin has lowered the limit of open files below what poll takes */
      (void)nanosleep(&(struct timespec){ 0, LOOK * 1000000L - 1 }, NULL);
    }
  }
  if (!atomic_load(&ending)) {
    platform_end_children();
    if (getpgrp() == getpid() && !(ends[0].revents & POLLNVAL)) {
      (void)kill(0, SIGKILL);
    }
    _exit(END_PIPES);
  }
  return NULL;
}

bool
platform_watch(descriptor requests)
{
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, before;
  bool started;

  pipe_end = requests;
  parent = getppid();
#if defined(SYS_pidfd_open)
  parent_fd = posix_keep((int)syscall(SYS_pidfd_open, parent, 0u)); /* -1 before Linux 5.3 */
#endif
  if (pthread_attr_init(&attributes) != 0) {
    return false;
  }
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  (void)pthread_attr_setstacksize(&attributes, STACK);
  /* A signal for the process is for the plugin's threads. */
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  started = pthread_create(&thread, &attributes, watch, NULL) == 0;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  (void)pthread_attr_destroy(&attributes);
  return started;
}

void
platform_ending(void)
{
  atomic_store(&ending, true);
}
