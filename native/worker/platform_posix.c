/* SPDX-License-Identifier: MIT */
#include "platform.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "posix.h"

/* The worker's own descriptors start here, if the system allows it: above the range of a plugin that closes all
 * descriptors below 1024, but low enough that the kernel's table takes little memory. */
#define KEEP_AT 4080
#define SPARE 16

#define MOST_PARTS 16
#define NANOSECONDS UINT64_C(1000000000)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool
platform_has_terminal(void)
{
  return isatty(STDIN_FILENO) || isatty(STDOUT_FILENO);
}

int
posix_keep(int fd)
{
  struct rlimit files, raised;
  int kept, at;

  if (fd < 0 || getrlimit(RLIMIT_NOFILE, &files) != 0) {
    return -1;
  }
  /* Descriptors may exist above the limit, but can only be created below it. */
  raised = files;
  if (raised.rlim_cur < KEEP_AT + SPARE) {
    raised.rlim_cur = raised.rlim_max < KEEP_AT + SPARE ? raised.rlim_max : KEEP_AT + SPARE;
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
      raised = files;
    }
  }
  if (raised.rlim_cur >= KEEP_AT + SPARE) {
    at = KEEP_AT;
  } else {
    at = raised.rlim_cur > 2 * SPARE ? (int)raised.rlim_cur - SPARE : 3;
  }
  kept = fcntl(fd, F_DUPFD_CLOEXEC, at);
  (void)setrlimit(RLIMIT_NOFILE, &files);
  if (fd > STDERR_FILENO) {
    (void)close(fd);
  }
  return kept;
}

bool
platform_prepare(descriptor *requests, descriptor *replies, descriptor *log)
{
  sigset_t none;
  int empty, flags, number;

  *requests = posix_keep(STDIN_FILENO);
  *replies = posix_keep(STDOUT_FILENO);
  *log = posix_keep((int)*log);
  empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (*requests < 0 || *replies < 0 || *log < 0 || empty < 0 || dup2(empty, STDIN_FILENO) < 0 ||
      dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    return false;
  }
  (void)close(empty);
  flags = fcntl((int)*log, F_GETFL);
  if (flags < 0 || fcntl((int)*log, F_SETFL, flags | O_NONBLOCK) < 0) {
    return false;
  }

  for (number = 1; number < 32; number++) { /* signals that the host ignores would be ignored here */
    (void)signal(number, SIG_DFL);
  }
  (void)sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
  (void)signal(SIGPIPE, SIG_IGN); /* as in a Python process, so that plugins find the same in both */
  if (getpgrp() != getpid()) {
    (void)setsid();
  }
  return true;
}

ptrdiff_t
platform_read(descriptor from, void *to, size_t size)
{
  ssize_t got;

  do {
    got = read((int)from, to, size);
  } while (got < 0 && errno == EINTR);
  return got;
}

bool
platform_write(descriptor to, const struct bytes *parts, size_t count)
{
  struct iovec left[MOST_PARTS];
  size_t first = 0, i;

  for (i = 0; i < count; i++) {
    left[i].iov_base = (void *)(uintptr_t)parts[i].data; /* writev does not write to it */
    left[i].iov_len = parts[i].size;
  }
  while (first < count) {
    ssize_t written = writev((int)to, left + first, (int)(count - first));

    if (written < 0 && errno == EFAULT) {
      /* The plugin returned an invalid address. The kernel reports an error, whereas a copy would have crashed. */
      sigset_t fault;

      (void)sigemptyset(&fault);
      (void)sigaddset(&fault, SIGSEGV);
      (void)signal(SIGSEGV, SIG_DFL);
      (void)pthread_sigmask(SIG_UNBLOCK, &fault, NULL);
      (void)raise(SIGSEGV);
    }
    if (written < 0 && errno != EINTR) {
      return false;
    }
    for (; first < count && written >= 0 && (size_t)written >= left[first].iov_len; first++) {
      written -= (ssize_t)left[first].iov_len;
    }
    if (first < count && written > 0) {
      left[first].iov_base = (char *)left[first].iov_base + written;
      left[first].iov_len -= (size_t)written;
    }
  }
  return true;
}

ptrdiff_t
platform_write_some(descriptor to, const void *data, size_t size)
{
  ssize_t written;

  do {
    written = write((int)to, data, size);
  } while (written < 0 && errno == EINTR);
  return written < 0 && errno == EAGAIN ? 0 : written;
}

void
platform_wait_room(descriptor to, uint64_t nanoseconds)
{
  struct pollfd room = { .fd = (int)to, .events = POLLOUT };

  (void)poll(&room, 1, (int)(nanoseconds / 1000000) + 1);
}

void *
platform_pages(size_t size)
{
  void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  return pages != MAP_FAILED ? pages : NULL;
}

void
platform_free_pages(void *pages, size_t size)
{
  if (pages != NULL) {
    (void)munmap(pages, size);
  }
}

void *
platform_open(const char *path, char *error, size_t error_size)
{
  void *library;
  const char *words;

  if (path[0] != '/') { /* dlopen would search for it */
    (void)snprintf(error, error_size, "%s: the path of a library must be absolute", path);
    return NULL;
  }
  library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    words = dlerror();
    (void)snprintf(error, error_size, "%s", words != NULL ? words : "the dynamic linker does not say why");
  }
  return library;
}

function
platform_symbol(void *library, const char *name)
{
  void *address = dlsym(library, name);
  function found;

  /* ISO C has no cast between the two; POSIX guarantees the same representation. */
  _Static_assert(sizeof found == sizeof address, "functions and objects have addresses of one size");
  memcpy(&found, &address, sizeof found);
  return found;
}

uint32_t
platform_pid(void)
{
  return (uint32_t)getpid();
}

uint64_t
platform_now(void)
{
  struct timespec now;

  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

void
platform_lock(void)
{
  (void)pthread_mutex_lock(&lock);
}

void
platform_unlock(void)
{
  (void)pthread_mutex_unlock(&lock);
}

void
platform_end(int code)
{
  _exit(code);
}

void
platform_complain(const char *text)
{
  char line[400];
  int size = snprintf(line, sizeof line, "backworks-worker: %s\n", text);

  if (write(STDERR_FILENO, line, (size_t)size) < 0) {
    return; /* nothing reads it */
  }
}
