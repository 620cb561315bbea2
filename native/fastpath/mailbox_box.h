/* SPDX-License-Identifier: MIT
 *
 * What the files of the type Mailbox share: the box, its phases, and what each file offers the others. Linux only.
 *
 *   mailbox.c           the type: its phases, its methods, its memory
 *   mailbox_message.c   a request becomes a frame in the mapping, a frame there becomes a Reply
 *   mailbox_wait.c      waiting for the reply
 *
 * The path of a request: its frame is written straight into the mapping; it is handed over; the reply is awaited, at
 * first without giving up the interpreter lock, because most answers are there sooner than that takes; its headers are
 * copied out of the mapping and checked; a Reply is made of the rest with one copy. Nothing is looked at before it was
 * copied, and nothing that was found in one copy is relied on in another: the worker may write to it at any time.
 *
 * What is rare is left to the callables that the box is given (enum need).
 *
 * A box is for one thread at a time, except for notify. The interpreter lock guards all of `struct box` except the two
 * atomic fields. These are its phases; everything else raises ValueError in NEW, CLOSING and CLOSED, and RuntimeError in
 * the other three:
 *
 *   phase     means                                   call, begin, ...   advance       attach    close
 *   NEW       the worker is not there yet             -                  -             -> IDLE   -> CLOSED
 *   IDLE      no request is open                      -> BUSY            -             -         -> CLOSED
 *   BUSY      a thread is inside                      -                  -             -         -> CLOSING
 *   OPEN      a request was sent, its reply not taken -                  -> BUSY       -         -> CLOSED
 *   CLOSING   a thread is inside, and ends the box    -                  -             -         stays
 *   CLOSED    the mapping and descriptors are gone    -                  -             -         stays
 *
 * A thread leaves BUSY for IDLE with a reply, and for OPEN without one (none yet, too late, broken, interrupted). It
 * leaves CLOSING for CLOSED either way. */
#ifndef BACKWORKS_MAILBOX_BOX_H
#define BACKWORKS_MAILBOX_BOX_H

#include "../binding/binding.h"
#include "mailbox_type.h"

#if HAVE_MAILBOX

#include "../wire/frame.h"
#include "../wire/mailbox.h"

/* How long an event loop is held up, in nanoseconds, for an answer that comes at once. */
#define ASYNC_SPIN UINT32_C(3000)

enum phase { NEW, IDLE, BUSY, OPEN, CLOSING, CLOSED };

/* What attach is given, by these names: callables for what is rare, and exceptions. */
enum need {
  NEED_LARGE,           /* notes that large messages have been in the mapping */
  NEED_JUDGE,           /* says what is wrong with a frame that is not a plain reply, or what it means after all */
  NEED_BY_PIPE,         /* makes a call that does not fit into the mapping */
  NEED_BEGIN_BY_PIPE,   /* begins such a call */
  NEED_FROM_PIPE,       /* waits for a reply that does not fit */
  NEED_BEGIN_FROM_PIPE, /* begins to take such a reply */
  NEED_GONE,            /* raised: the worker has ended */
  NEED_LATE,            /* raised: there is no reply yet */
  NEED_FRAME_ERROR,     /* raised: the worker does not keep to the protocol */
  NEEDS
};

struct box {
  PyObject_HEAD
  PyObject *needs[NEEDS];    /* NULL before attach */
  const struct state *state; /* of the module, which the type keeps */
  struct mailbox *shared;    /* NULL after close */
  int memory_fd;             /* -1 after attach */
  int event_fd;
  enum phase phase;
  bool dirty;       /* a large message has been in the areas, and NEED_LARGE was told */
  uint32_t trimmed; /* the number when trim() looked last */
  size_t sent;      /* the size of the last request in the mapping */
  bool armed;       /* the worker was asked to write to the eventfd */
  uint64_t max_output;
  uint64_t began; /* when the open request was, if `armed` */
  struct mailbox_spin spin;
  struct mailbox_spin async_spin;
  _Atomic uint32_t number; /* of the last request */
  _Atomic bool ended;      /* the worker is dead */
};

/* The arguments of a call. */
enum { BOX_ENDPOINT, BOX_METHOD, BOX_DATA, BOX_TIMEOUT, BOX_TRACEPARENT, BOX_TRACESTATE, BOX_ARGUMENTS };

static inline bool
box_has_ended(struct box *box)
{
  return atomic_load_explicit(&box->ended, memory_order_seq_cst);
}

/* The number of the last request. */
static inline uint32_t
box_number(struct box *box)
{
  return atomic_load_explicit(&box->number, memory_order_relaxed);
}

/* mailbox.c */

/* Lets this thread in, if the box is in that phase. */
int box_enter(struct box *box, enum phase phase);

/* Ends this thread's stay. */
void box_leave(struct box *box, enum phase phase);

/* Raises one of the exceptions that the box was given. Returns NULL. */
PyObject *box_raise(struct box *box, enum need type, const char *text);

/* mailbox_message.c */

/* Announces the next request, at that place. */
void box_post(struct box *box, uint32_t place);

/* Writes a CALL into the mapping and announces it; the thread is inside then. Returns 1 if that was done, 0 if it does
 * not fit, or -1. */
int box_send_call(struct box *box, PyObject *const *given, uint64_t *time_left);

/* The same for a frame of another kind. Returns 0 or -1. */
int box_send_control(struct box *box, int kind, PyObject *payload);

/* Takes the reply, whose number was seen to be another than the old one. On the pipe it is waited for until `deadline`,
 * or not at all if `wait` is false; then None may come. Ends this thread's stay. */
PyObject *box_take(struct box *box, bool wait, uint64_t deadline);

/* mailbox_wait.c */

/* Waits for the reply and makes it, for `time_left` nanoseconds or, if that is 0, for ever. Ends this thread's stay. */
PyObject *box_wait(struct box *box, uint64_t time_left);

/* Returns the reply if it comes at once, or else None, after asking for the eventfd. Ends this thread's stay. */
PyObject *box_wait_no_longer(struct box *box);

/* Returns the reply if it is there, or else None, after asking for the eventfd again. Ends this thread's stay. */
PyObject *box_look(struct box *box);

#endif

#endif
