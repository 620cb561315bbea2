/* SPDX-License-Identifier: MIT
 *
 * Two processes that only wake each other in turn: the minimum cost of a call to another process that must be woken.
 * Linux only. Each function returns the nanoseconds that `count` rounds took; each round sends `size` bytes there and
 * back. */
#define _GNU_SOURCE /* syscall */

#include <backworks_plugin.h>

#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct shared {
  _Atomic uint32_t request;
  _Alignas(128) _Atomic uint32_t reply;
  _Alignas(128) char data[];
};

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Forks the other process, which ends with this one; returns 0 in it. */
static pid_t start(void) {
  pid_t other = fork();
  if (other < 0) {
    abort();
  }
  if (other == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  return other;
}

static uint64_t stop(pid_t other, uint64_t taken) {
  kill(other, SIGKILL);
  waitpid(other, NULL, 0);
  return taken;
}

static void wait_for(_Atomic uint32_t *word, uint32_t old) {
  while (atomic_load(word) == old) {
    syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
  }
}

static void post(_Atomic uint32_t *word, uint32_t value) {
  atomic_store(word, value);
  syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Two words in shared memory, with a futex at each. */
BACKWORKS_EXPORT uint64_t pingpong_futex(const char *data, size_t size, uint64_t count) {
  size_t whole = sizeof(struct shared) + size;
  struct shared *shared = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *copy = malloc(size);
  uint64_t begun;
  uint32_t round;
  pid_t other;
  if (shared == MAP_FAILED || copy == NULL) {
    abort();
  }
  other = start();
  for (round = 1; other == 0; round++) {
    wait_for(&shared->request, round - 1);
    memcpy(copy, shared->data, size);
    memcpy(shared->data, copy, size);
    post(&shared->reply, round);
  }
  begun = now();
  for (round = 1; round <= count; round++) {
    memcpy(shared->data, data, size);
    post(&shared->request, round);
    wait_for(&shared->reply, round - 1);
    memcpy(copy, shared->data, size);
  }
  begun = now() - begun;
  stop(other, 0);
  munmap(shared, whole);
  free(copy);
  return begun;
}

static void transfer(int descriptor, char *bytes, size_t size, int out) {
  while (size > 0) {
    ssize_t done = out ? write(descriptor, bytes, size) : read(descriptor, bytes, size);
    if (done <= 0) {
      abort();
    }
    bytes += done;
    size -= (size_t)done;
  }
}

/* A pipe in each direction. */
BACKWORKS_EXPORT uint64_t pingpong_pipe(char *data, size_t size, uint64_t count) {
  int there[2], back[2];
  char *copy = malloc(size);
  uint64_t begun, i;
  pid_t other;
  if (copy == NULL || pipe(there) != 0 || pipe(back) != 0) {
    abort();
  }
  other = start();
  while (other == 0) {
    transfer(there[0], copy, size, 0);
    transfer(back[1], copy, size, 1);
  }
  begun = now();
  for (i = 0; i < count; i++) {
    transfer(there[1], data, size, 1);
    transfer(back[0], copy, size, 0);
  }
  begun = now() - begun;
  stop(other, 0);
  for (i = 0; i < 2; i++) {
    close(there[i]);
    close(back[i]);
  }
  free(copy);
  return begun;
}

/* Starts a process that answers each write to one eventfd with a write to the other, after a number of nanoseconds. The
 * caller creates and closes the eventfds, and kills the process. */
BACKWORKS_EXPORT pid_t pingpong_event(int there, int back, uint64_t delay) {
  uint64_t value;
  pid_t other = start();
  while (other == 0) {
    if (read(there, &value, sizeof value) != sizeof value) {
      _exit(0);
    }
    for (uint64_t end = now() + delay; now() < end;) {
    }
    value = 1;
    if (write(back, &value, sizeof value) != sizeof value) {
      _exit(0);
    }
  }
  return other;
}
