/* SPDX-License-Identifier: MIT
 *
 * Waiting for the reply in a Mailbox: by polling, by a futex, or by an event loop that watches the eventfd. */
#include "mailbox_box.h"

#if HAVE_MAILBOX

#include <errno.h>
#include <poll.h>
#include <sys/uio.h>

/* How often the word is read before the interpreter lock is given up: somewhat more than a microsecond. */
#define POLLS_LOCKED 64
/* What sleeping is cut into, so that a signal's handler and the end of the worker are seen whatever is missed. */
#define SLICE UINT64_C(50000000)
/* RWF_NOWAIT of linux/fs.h. */
#define NO_WAIT 8

/* Sleeps until there is something to look at, without the interpreter lock. Tells whether the number changed. */
static bool
sleep_slice(struct box *box, uint32_t old, uint64_t deadline, uint64_t now)
{
  uint64_t left = deadline != 0 && deadline - now < SLICE ? deadline - now : SLICE;
  struct timespec longest = { 0, (long)left };

  return mailbox_sleep(&box->shared->reply, old, &longest);
}

PyObject *
box_wait(struct box *box, uint64_t time_left)
{
  struct mailbox_line *line = &box->shared->reply;
  const uint32_t old = box_number(box) - 1;
  const bool polls = mailbox_may_spin(&box->spin, line);
  uint64_t start, now, deadline;
  bool there;

  if (polls && mailbox_poll(&box->spin, &line->number, old, POLLS_LOCKED)) {
    return box_take(box, true, time_left != 0 ? mailbox_now() + time_left : 0);
  }
  start = now = mailbox_now();
  deadline = time_left == 0 || time_left > UINT64_MAX - now ? 0 : now + time_left;
  Py_BEGIN_ALLOW_THREADS
  there = polls && mailbox_poll_long(&box->spin, &line->number, old, start);
  if (!there && !box_has_ended(box)) {
    there = sleep_slice(box, old, deadline, now);
    now = mailbox_now();
    mailbox_learn(&box->spin, now - start);
  }
  Py_END_ALLOW_THREADS
  while (!there) {
    if (box_has_ended(box)) {
      break; /* take() looks once more */
    }
    if (deadline != 0 && now >= deadline) {
      box_leave(box, OPEN);
      return box_raise(box, NEED_LATE, "no answer yet");
    }
    if (PyErr_CheckSignals() < 0) {
      box_leave(box, OPEN);
      return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    there = sleep_slice(box, old, deadline, now);
    now = mailbox_now();
    Py_END_ALLOW_THREADS
  }
  return box_take(box, true, deadline);
}

PyObject *
box_wait_no_longer(struct box *box)
{
  struct mailbox_line *line = &box->shared->reply;
  const uint32_t old = box_number(box) - 1;
  const bool polls = mailbox_may_spin(&box->async_spin, line);

  if (polls && mailbox_poll(&box->async_spin, &line->number, old, POLLS_LOCKED)) {
    return box_take(box, false, 0);
  }
  box->began = mailbox_now();
  if ((polls && mailbox_poll_long(&box->async_spin, &line->number, old, box->began)) || mailbox_arm(line, old)) {
    mailbox_disarm(line);
    return box_take(box, false, 0);
  }
  box->armed = true;
  box_leave(box, OPEN);
  if (box_has_ended(box)) {
    return box_raise(box, NEED_GONE, "the worker has ended");
  }
  Py_RETURN_NONE;
}

/* Takes what is to be read from the eventfd. The worker can make a plain read block, because it shares the descriptor's
 * flags, but not one that says itself that it must not. The C libraries have no name for that in all versions. */
static void
drain(int event_fd)
{
  uint64_t count;
  struct iovec into = { &count, sizeof count };
  struct pollfd readable = { event_fd, POLLIN, 0 };

  if (syscall(SYS_preadv2, event_fd, &into, 1, -1L, -1L, NO_WAIT) < 0 && errno != EAGAIN &&
      poll(&readable, 1, 0) > 0) { /* a kernel before 5.7 */
    (void)!read(event_fd, &count, sizeof count);
  }
}

PyObject *
box_look(struct box *box)
{
  struct mailbox_line *line = &box->shared->reply;
  const uint32_t old = box_number(box) - 1;
  bool ended;

  drain(box->event_fd);
  ended = box_has_ended(box);
  if (!mailbox_arm(line, old) && !ended) {
    if (!box->armed) {
      box->armed = true;
      box->began = mailbox_now();
    }
    box_leave(box, OPEN);
    Py_RETURN_NONE;
  }
  mailbox_disarm(line);
  if (box->armed) {
    box->armed = false;
    mailbox_learn(&box->async_spin, mailbox_now() - box->began);
    if (box->async_spin.limit > ASYNC_SPIN) {
      box->async_spin.limit = ASYNC_SPIN;
    }
  }
  return box_take(box, false, 0);
}

#else

/* C11 has no empty file. */
typedef int no_mailbox;

#endif
