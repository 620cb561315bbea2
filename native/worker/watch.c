/* SPDX-License-Identifier: MIT
 *
 * A thread that ends this process, and all processes that the plugin started, when the host ends, on POSIX. The main
 * thread cannot do this, because it may run the plugin. Nor can PR_SET_PDEATHSIG, which fires when the thread that
 * started the worker ends. */
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

/* The thread has no large variables, but a sanitizer needs more than the system's minimum. */
#define STACK ((size_t)128 << 10)

/* How often to check the id of the host if the kernel cannot report its end. */
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
    if (found < 0) { /* the plugin has lowered the limit of open files below poll's minimum */
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
  /* Signals to the process must reach the plugin's threads. */
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
