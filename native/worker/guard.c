/* SPDX-License-Identifier: MIT
 *
 * The guardian, on Linux: a process between the host and the worker. It never runs the plugin. The kernel makes it the
 * parent of every orphan among the worker's descendants, so it can reap them without taking an exit status from the
 * plugin. When the worker ends, or the host asks for its end or ends itself, the guardian kills everything that the
 * plugin has started. It ends last. PROTOCOL.md, section 10, describes its messages to the host. */
#include "posix.h"

#if defined(__linux__)

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"

/* In milliseconds: how often to check the id of the host if the kernel cannot report its end, the shortest and longest
 * pauses between two searches for processes, and how long the host waits for the search before it hears of the end. */
#define LOOK 1000
#define SHORTEST 1
#define LONGEST 100
#define SEARCH UINT64_C(100)

enum source { CONTROL, HOST, WORKER, CHILD, SOURCES };

struct guard {
  struct pollfd ends[SOURCES]; /* a descriptor is -1 after its event, or if the kernel has none */
  pid_t host;
  pid_t worker;
  bool ending;    /* the worker has ended, or must end */
  bool reaped;    /* the worker has been reaped: nothing may be sent to its id any more */
  bool told;      /* the host knows of the end */
  int code;       /* its exit code: 0, or END_SYSTEM if the kernel does not give it the orphans */
  int32_t how[2]; /* the message about the end: one of the CLD_ constants or 0, and its code or signal */
};

static int
open_process(pid_t process)
{
#if defined(SYS_pidfd_open)
  return (int)syscall(SYS_pidfd_open, process, 0u); /* -1 before Linux 5.3 */
#else
  (void)process;
  return -1;
#endif
}

/* Sends two numbers and, unless it is -1, a descriptor. Never waits. */
static void
tell(int control, const int32_t *numbers, int descriptor_to_pass)
{
  union {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int))];
  } space;
  struct iovec part = { (void *)(uintptr_t)numbers, 2 * sizeof *numbers };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

  if (descriptor_to_pass >= 0) {
    memset(&space, 0, sizeof space);
    space.header.cmsg_level = SOL_SOCKET;
    space.header.cmsg_type = SCM_RIGHTS;
    space.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&space.header), &descriptor_to_pass, sizeof(int));
    message.msg_control = &space;
    message.msg_controllen = sizeof space;
  }
  (void)sendmsg(control, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Waits for an event or a time, and notes whether the worker has ended or must end. Returns whether a child ended. */
static bool
look(struct guard *guard, int timeout)
{
  struct signalfd_siginfo signals;
  int i;

  if (poll(guard->ends, SOURCES, timeout) <= 0) {
    guard->ending = guard->ending || getppid() != guard->host;
    return false;
  }
  for (i = CONTROL; i <= WORKER; i++) {
    if (guard->ends[i].revents != 0) {
      guard->ends[i].fd = -1;
      guard->ending = true;
    }
  }
  return guard->ends[CHILD].revents != 0 && read(guard->ends[CHILD].fd, &signals, sizeof signals) > 0;
}

/* Reaps all children that have ended. Returns whether there are others. */
static bool
reap(struct guard *guard)
{
  siginfo_t ended;

  for (;;) {
    ended.si_pid = 0;
    if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0) {
      return errno != ECHILD;
    }
    if (ended.si_pid == 0) {
      return true;
    }
    if (ended.si_pid == guard->worker && !guard->reaped) {
      (void)kill(-guard->worker, SIGKILL); /* before the system can reuse its id */
      guard->ending = guard->reaped = true;
      guard->how[0] = ended.si_code;
      guard->how[1] = ended.si_status;
    }
    (void)waitpid(ended.si_pid, NULL, WNOHANG);
  }
}

static void
end_worker(const struct guard *guard)
{
  if (!guard->reaped) {
    (void)kill(guard->worker, SIGKILL);
    (void)kill(-guard->worker, SIGKILL);
  }
}

NORETURN static void
watch_over(struct guard *guard, int control)
{
  const int idle = guard->ends[HOST].fd >= 0 && guard->ends[WORKER].fd >= 0 ? -1 : LOOK;
  uint64_t told_at = 0, now;
  int pause = SHORTEST;
  bool busy, others;

  for (;;) {
    busy = look(guard, guard->ending ? pause : idle);
    others = reap(guard);
    if (!guard->ending) {
      continue;
    }
    now = platform_now() / 1000000;
    told_at = told_at != 0 ? told_at : now + SEARCH;
    if (others) {
      end_worker(guard);
      posix_kill_orphans();
    }
    if (!guard->told && (!others || now >= told_at)) {
      guard->told = true;
      tell(control, guard->how, -1);
    }
    if (!others) {
      _exit(guard->code);
    }
    pause = busy ? SHORTEST : pause < LONGEST ? 2 * pause : LONGEST;
  }
}

/* Prepares the worker after the fork. */
static void
become_worker(const struct guard *guard, int control, pid_t parent)
{
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* works, because the guardian has one thread */
  if (getppid() != parent) {
    _exit(END_PIPES);
  }
  (void)close(control);
  (void)close(guard->ends[CHILD].fd);
  if (guard->ends[HOST].fd >= 0) {
    (void)close(guard->ends[HOST].fd);
  }
  (void)setsid();
}

/* The guardian must not keep the worker's pipes open. */
static void
become_guardian(const descriptor *others, size_t count)
{
  size_t i;

  for (i = 0; i <= STDERR_FILENO; i++) {
    (void)close((int)i);
  }
  for (i = 0; i < count; i++) {
    if (others[i] > STDERR_FILENO) {
      (void)close((int)others[i]);
    }
  }
  (void)prctl(PR_SET_NAME, "backworks-guard", 0, 0, 0);
  (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* so that an ordinary user's plugin cannot trace it */
}

void
posix_guard(int control, const descriptor *others, size_t count)
{
  struct guard guard = { .host = getppid() };
  const pid_t self = getpid();
  int32_t begun[2] = { 0, 0 };
  sigset_t all, child;

  (void)sigfillset(&all);
  (void)sigemptyset(&child);
  (void)sigaddset(&child, SIGCHLD);
  (void)signal(SIGCHLD, SIG_DFL); /* where the host ignores it, children would not wait to be reaped */
  (void)sigprocmask(SIG_SETMASK, &all, NULL);
  guard.code = prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 ? 0 : END_SYSTEM;
  guard.ends[CONTROL] = (struct pollfd){ .fd = control, .events = POLLIN };
  guard.ends[HOST] = (struct pollfd){ .fd = open_process(guard.host), .events = POLLIN };
  guard.ends[CHILD] = (struct pollfd){ .fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN };
  guard.worker = guard.ends[CHILD].fd >= 0 ? fork() : -1;
  if (guard.worker == 0) {
    become_worker(&guard, control, self);
    return;
  }
  begun[0] = guard.worker < 0 ? errno : 0;
  begun[1] = guard.worker;
  guard.ends[WORKER] = (struct pollfd){ .fd = begun[0] == 0 ? open_process(guard.worker) : -1, .events = POLLIN };
  tell(control, begun, guard.ends[WORKER].fd);
  if (guard.worker < 0) {
    _exit(END_SYSTEM);
  }
  become_guardian(others, count);
  watch_over(&guard, control);
}

#endif
