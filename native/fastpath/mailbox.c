/* SPDX-License-Identifier: MIT
 *
 * The host's end of a mailbox (native/wire/mailbox.h): requests to one worker process through memory that both have.
 * Linux only.
 *
 * The path of a request: its frame is written straight into the mapping; it is handed over; the reply is awaited, at
 * first without giving up the interpreter lock, because most answers are there sooner than that takes; its headers are
 * copied out of the mapping and checked; a Reply is made of the rest with one copy. Nothing is looked at before it was
 * copied, and nothing that was found in one copy is relied on in another: the worker may write to it at any time.
 *
 * What is rare is left to Python methods of the owner: a request that does not fit (by_pipe, begin_by_pipe), a reply
 * that does not (from_pipe, begin_from_pipe), and a frame that is not a plain reply (judge), so that every channel has
 * the same words for it.
 *
 * A mailbox is for one thread at a time, but for notify. The interpreter lock guards all of `struct box` except the two
 * atomic fields. */
#include "../binding/binding.h"
#include "mailbox_type.h"

#if HAVE_MAILBOX

#include "../wire/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#define HEADER 16
#define CALL_SIZE 32
#define REPLY_SIZE 32
#define CALL 2
#define REPLY 130
#define NO_TEXT_SIZE UINT32_MAX
#define NO_DATA_SIZE UINT64_MAX

/* How often the word is read before the interpreter lock is given up: somewhat more than a microsecond. */
#define POLLS_LOCKED 64
/* How long an event loop is held up, in nanoseconds, for an answer that comes at once. */
#define ASYNC_SPIN UINT32_C(3000)
/* What sleeping is cut into, so that a signal's handler and the end of the worker are seen whatever is missed. */
#define SLICE UINT64_C(50000000)
/* A message up to this size is copied with the interpreter lock. */
#define SMALL_COPY ((size_t)64 << 10)
/* Above this, the areas' pages are worth giving back. */
#define LARGE ((size_t)1 << 20)
/* RWF_NOWAIT of linux/fs.h. */
#define NO_WAIT 8
/* What notify does to the number, which makes it neither the old one nor the one that is awaited. */
#define ENDED_BIT UINT32_C(0x80000000)

enum phase {
  IDLE,
  BUSY, /* a thread is in here */
  OPEN, /* a request was sent, and its reply not taken */
};

struct box {
  PyObject_HEAD
  PyObject *owner;           /* NULL before attach */
  const struct state *state; /* of the module, which the type keeps */
  struct mailbox *shared;    /* NULL after close */
  int memory_fd;             /* -1 after attach */
  int event_fd;
  enum phase phase;
  bool closing;       /* close was called while a thread was in here, which has to end it */
  bool dirty;         /* a large message has been in the areas; the owner was told */
  uint32_t trimmed;   /* the number when trim() looked last */
  size_t sent;        /* the size of the last request in the mapping */
  bool armed;         /* the worker was asked to write to the eventfd */
  uint64_t max_output;
  uint64_t began; /* when the open request was, if `armed` */
  struct mailbox_spin spin;
  struct mailbox_spin async_spin;
  _Atomic uint32_t number; /* of the last request */
  _Atomic bool ended;      /* the worker is dead */
};

static struct box *
box_of(PyObject *object)
{
  return (struct box *)object;
}

/* Sets one of the exceptions of backworks.isolation.process.codec. Returns NULL. */
static PyObject *
fail(const char *name, const char *text)
{
  PyObject *codec = PyImport_ImportModule("backworks.isolation.process.codec");
  PyObject *type = codec != NULL ? PyObject_GetAttrString(codec, name) : NULL;

  if (type != NULL) {
    PyErr_SetString(type, text);
  }
  Py_XDECREF(type);
  Py_XDECREF(codec);
  return NULL;
}

static void
release(struct box *box)
{
  if (box->shared != NULL) {
    (void)munmap(box->shared, MAILBOX_SIZE);
    box->shared = NULL;
  }
  if (box->memory_fd >= 0) {
    (void)close(box->memory_fd);
    box->memory_fd = -1;
  }
  if (box->event_fd >= 0) {
    (void)close(box->event_fd);
    box->event_fd = -1;
  }
}

/* Lets this thread in, if the mailbox is in that phase. */
static int
enter(struct box *box, enum phase phase)
{
  if (box->shared == NULL || box->owner == NULL || box->closing) {
    PyErr_SetString(PyExc_ValueError, "the mailbox is closed, or was not attached");
    return -1;
  }
  if (box->phase != phase) {
    PyErr_SetString(PyExc_RuntimeError, box->phase == IDLE
                                            ? "no request is open in the mailbox"
                                            : "a request is open in the mailbox; it takes one at a time");
    return -1;
  }
  box->phase = BUSY;
  return 0;
}

/* Notes that a large message is in the areas. */
static void
note_large(struct box *box)
{
  PyObject *result;

  if (!box->dirty) {
    box->dirty = true;
    result = PyObject_CallMethod(box->owner, "large", NULL);
    Py_XDECREF(result);
    if (result == NULL) {
      PyErr_WriteUnraisable(box->owner);
    }
  }
}

static void
leave(struct box *box, enum phase phase)
{
  box->phase = phase;
  if (box->closing) {
    release(box);
  }
}

/* Requests */

static unsigned char *
put32(unsigned char *to, uint32_t number)
{
  memcpy(to, &number, sizeof number); /* mailbox.h is for little-endian machines */
  return to + sizeof number;
}

static unsigned char *
put64(unsigned char *to, uint64_t number)
{
  memcpy(to, &number, sizeof number);
  return to + sizeof number;
}

static unsigned char *
put_text(unsigned char *to, const struct text *text)
{
  if (text->size > 0) {
    memcpy(to, text->data, text->size);
  }
  return to + text->size;
}

static uint32_t
text_size(const struct text *text)
{
  return text->data != NULL ? (uint32_t)text->size : NO_TEXT_SIZE;
}

/* The number of the next request; the one before it was answered. */
static uint32_t
next_number(struct box *box)
{
  return atomic_load_explicit(&box->number, memory_order_relaxed) + 1;
}

static unsigned char *
put_header(struct box *box, size_t size, uint8_t kind)
{
  box->sent = size;
  return put64(put32(put32(box->shared->request.message, (uint32_t)(size - HEADER)), kind), next_number(box));
}

/* Hands the next request over. */
static void
post(struct box *box, uint32_t place)
{
  uint32_t number = next_number(box);

  atomic_store_explicit(&box->number, number, memory_order_seq_cst);
  mailbox_post(&box->shared->request, number, place, -1);
}

/* Copies the last part of a frame, and hands it over. */
static void
send(struct box *box, unsigned char *to, const struct text *last)
{
  if (last->size <= SMALL_COPY) {
    (void)put_text(to, last);
  } else {
    if (last->size > LARGE) {
      note_large(box);
    }
    Py_BEGIN_ALLOW_THREADS
    (void)put_text(to, last);
    Py_END_ALLOW_THREADS
  }
  post(box, MAILBOX_HERE);
}

/* Replies */

/* Copies out of the mapping. After this the compiler cannot read there again instead. */
static void
fetch(void *to, const unsigned char *from, size_t size)
{
  memcpy(to, from, size);
  atomic_signal_fence(memory_order_seq_cst);
}

static uint32_t
get32(const unsigned char *from)
{
  uint32_t number;

  memcpy(&number, from, sizeof number);
  return number;
}

static uint64_t
get64(const unsigned char *from)
{
  uint64_t number;

  memcpy(&number, from, sizeof number);
  return number;
}

/* Makes bytes of what is in the mapping. */
static PyObject *
copy_out(const unsigned char *from, size_t size)
{
  PyObject *bytes;
  char *to;

  if (size <= SMALL_COPY) {
    return PyBytes_FromStringAndSize((const char *)from, (Py_ssize_t)size);
  }
  bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
  if (bytes != NULL) {
    to = PyBytes_AsString(bytes);
    Py_BEGIN_ALLOW_THREADS
    memcpy(to, from, size);
    Py_END_ALLOW_THREADS
  }
  return bytes;
}

static PyObject *
text_out(const unsigned char *from, uint32_t size)
{
  if (size == NO_TEXT_SIZE) {
    Py_RETURN_NONE;
  }
  return PyBytes_FromStringAndSize((const char *)from, (Py_ssize_t)size);
}

/* Has the owner say what is wrong with a frame, or what it means after all. */
static PyObject *
judge(struct box *box, uint32_t payload)
{
  const size_t whole = HEADER + (size_t)payload;
  /* Where the size cannot be true, its header alone says so. */
  PyObject *frame = copy_out(box->shared->reply.message, whole <= MAILBOX_AREA ? whole : HEADER);
  PyObject *reply = NULL;

  if (frame != NULL) {
    reply = PyObject_CallMethod(box->owner, "judge", "(OI)", frame,
                                (unsigned int)atomic_load_explicit(&box->number, memory_order_relaxed));
    Py_DECREF(frame);
  }
  return reply;
}

/* Makes the Reply of the frame in the mapping. */
static PyObject *
take_here(struct box *box)
{
  const unsigned char *frame = box->shared->reply.message;
  unsigned char head[HEADER + REPLY_SIZE];
  uint32_t payload, type_size, headers_size;
  uint64_t data_size, type_bytes, headers_bytes, data_bytes;
  PyObject *values[5];

  fetch(head, frame, sizeof head);
  payload = get32(head);
  type_size = get32(head + 24);
  headers_size = get32(head + 28);
  data_size = get64(head + 32);
  type_bytes = type_size == NO_TEXT_SIZE ? 0 : type_size;
  headers_bytes = headers_size == NO_TEXT_SIZE ? 0 : headers_size;
  data_bytes = data_size == NO_DATA_SIZE ? 0 : data_size;
  if (get32(head + 4) != REPLY || get64(head + 8) != atomic_load_explicit(&box->number, memory_order_relaxed) ||
      get64(head + 40) != 0 || type_bytes > box->state->max_field || headers_bytes > box->state->max_field ||
      data_bytes > box->max_output || HEADER + (uint64_t)payload > MAILBOX_AREA ||
      payload != REPLY_SIZE + type_bytes + headers_bytes + data_bytes) { /* bounded one by one: no overflow */
    return judge(box, payload);
  }
  if (payload > LARGE) {
    note_large(box);
  }
  frame += sizeof head;
  values[0] = PyLong_FromLong((int32_t)get32(head + 16));
  values[2] = PyLong_FromUnsignedLong(get32(head + 20));
  values[3] = text_out(frame, type_size);
  frame += type_bytes;
  values[4] = text_out(frame, headers_size);
  frame += headers_bytes;
  if (data_size == NO_DATA_SIZE) {
    Py_INCREF(Py_None);
    values[1] = Py_None;
  } else {
    values[1] = copy_out(frame, (size_t)data_bytes);
  }
  return reply_of(box->state, values);
}

/* Takes the reply, whose number was seen to be another than the old one. On the pipe it is waited for until `deadline`,
 * or not at all if `wait` is false; then None may come. Ends this thread's stay. */
static PyObject *
take(struct box *box, bool wait, uint64_t deadline)
{
  const uint32_t number = atomic_load_explicit(&box->number, memory_order_relaxed);
  const bool ended = atomic_load_explicit(&box->ended, memory_order_seq_cst);
  const uint32_t found = atomic_load_explicit(&box->shared->reply.number, memory_order_acquire);
  PyObject *reply;
  uint32_t place;
  uint64_t now;

  if (found != number) {
    leave(box, OPEN);
    return ended ? fail("Gone", "the worker has ended")
                 : fail("FrameError", "a number in the mailbox that was not asked for");
  }
  place = atomic_load_explicit(&box->shared->reply.place, memory_order_relaxed);
  if (place == MAILBOX_HERE) {
    reply = take_here(box);
    mailbox_own(&box->shared->request, box->sent);
    leave(box, IDLE);
    return reply;
  }
  if (place != MAILBOX_PIPE) {
    leave(box, OPEN);
    return fail("FrameError", "a message in the mailbox that is at no place");
  }
  leave(box, IDLE);
  if (!wait) {
    return PyObject_CallMethod(box->owner, "begin_from_pipe", "(I)", (unsigned int)number);
  }
  if (deadline == 0) {
    return PyObject_CallMethod(box->owner, "from_pipe", "(IO)", (unsigned int)number, Py_None);
  }
  now = mailbox_now();
  return PyObject_CallMethod(box->owner, "from_pipe", "(Id)", (unsigned int)number,
                             now < deadline ? (double)(deadline - now) / 1e9 : 0.0);
}

/* Waiting */

/* Sleeps until there is something to look at, without the interpreter lock. Tells whether the number changed. */
static bool
sleep_slice(struct box *box, uint32_t old, uint64_t deadline, uint64_t now)
{
  uint64_t left = deadline != 0 && deadline - now < SLICE ? deadline - now : SLICE;
  struct timespec longest = { 0, (long)left };

  return mailbox_sleep(&box->shared->reply, old, &longest);
}

/* Waits for the reply and makes it. `start` is when the call began, or 0 where nobody has looked. */
static PyObject *
wait_for(struct box *box, uint64_t time_left)
{
  struct mailbox_line *line = &box->shared->reply;
  const uint32_t old = atomic_load_explicit(&box->number, memory_order_relaxed) - 1;
  const bool polls = mailbox_may_spin(&box->spin, line);
  uint64_t start, now, deadline;
  bool there;

  if (polls && mailbox_poll(&box->spin, &line->number, old, POLLS_LOCKED)) {
    return take(box, true, time_left != 0 ? mailbox_now() + time_left : 0);
  }
  start = now = mailbox_now();
  deadline = time_left == 0 || time_left > UINT64_MAX - now ? 0 : now + time_left;
  Py_BEGIN_ALLOW_THREADS
  there = polls && mailbox_poll_long(&box->spin, &line->number, old, start);
  if (!there && !atomic_load_explicit(&box->ended, memory_order_seq_cst)) {
    there = sleep_slice(box, old, deadline, now);
    now = mailbox_now();
    mailbox_learn(&box->spin, now - start);
  }
  Py_END_ALLOW_THREADS
  while (!there) {
    if (atomic_load_explicit(&box->ended, memory_order_seq_cst)) {
      break; /* take() looks once more */
    }
    if (deadline != 0 && now >= deadline) {
      leave(box, OPEN);
      return fail("Late", "no answer yet");
    }
    if (PyErr_CheckSignals() < 0) {
      leave(box, OPEN);
      return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    there = sleep_slice(box, old, deadline, now);
    now = mailbox_now();
    Py_END_ALLOW_THREADS
  }
  return take(box, true, deadline);
}

/* Returns the reply if it comes at once, or else None, after asking for the eventfd. */
static PyObject *
wait_no_longer(struct box *box)
{
  struct mailbox_line *line = &box->shared->reply;
  const uint32_t old = atomic_load_explicit(&box->number, memory_order_relaxed) - 1;
  const bool polls = mailbox_may_spin(&box->async_spin, line);

  if (polls && mailbox_poll(&box->async_spin, &line->number, old, POLLS_LOCKED)) {
    return take(box, false, 0);
  }
  box->began = mailbox_now();
  if ((polls && mailbox_poll_long(&box->async_spin, &line->number, old, box->began)) || mailbox_arm(line, old)) {
    mailbox_disarm(line);
    return take(box, false, 0);
  }
  box->armed = true;
  leave(box, OPEN);
  if (atomic_load_explicit(&box->ended, memory_order_seq_cst)) {
    return fail("Gone", "the worker has ended");
  }
  Py_RETURN_NONE;
}

/* The methods */

enum { ENDPOINT, METHOD, DATA, TIMEOUT, TRACEPARENT, TRACESTATE, ARGUMENTS };

/* Encodes a CALL into the mapping and hands it over. Returns 1 if that was done, 0 if it does not fit, or -1. */
static int
send_call(struct box *box, PyObject *const *given, uint64_t *time_left)
{
  struct text endpoint, method, data, traceparent, tracestate;
  const size_t limit = box->state->max_field;
  size_t size;
  unsigned char *to;
  int result = -1;

  text_none(&endpoint);
  text_none(&method);
  text_none(&data);
  text_none(&traceparent);
  text_none(&tracestate);
  *time_left = 0;
  if (text_take(&endpoint, given[ENDPOINT], "endpoint") < 0 || text_take(&method, given[METHOD], "method") < 0 ||
      take_data(&data, given[DATA]) < 0 || take_field(&traceparent, given[TRACEPARENT], "traceparent") < 0 ||
      take_field(&tracestate, given[TRACESTATE], "tracestate") < 0 ||
      (given[TIMEOUT] != Py_None && take_timeout(given[TIMEOUT], time_left) < 0)) {
    goto out;
  }
  if (given[TIMEOUT] != Py_None && *time_left == 0) {
    *time_left = 1; /* 0 is no limit */
  }
  if (endpoint.size > limit || method.size > limit || traceparent.size > limit || tracestate.size > limit ||
      data.size > MAILBOX_AREA - HEADER - CALL_SIZE - 4 * limit) {
    result = 0;
    goto out;
  }
  if (enter(box, IDLE) < 0) { /* only now: taking the arguments may run Python code */
    goto out;
  }
  size = HEADER + CALL_SIZE + endpoint.size + method.size + traceparent.size + tracestate.size + data.size;
  to = put64(put_header(box, size, CALL), *time_left);
  to = put32(put32(to, (uint32_t)endpoint.size), (uint32_t)method.size);
  to = put64(put32(put32(to, text_size(&traceparent)), text_size(&tracestate)), data.size);
  to = put_text(put_text(to, &endpoint), &method);
  to = put_text(put_text(to, &traceparent), &tracestate);
  send(box, to, &data);
  result = 1;
out:
  text_release(&tracestate);
  text_release(&traceparent);
  text_release(&data);
  text_release(&method);
  text_release(&endpoint);
  return result;
}

/* Has the owner send a call by pipe. */
static PyObject *
call_by_pipe(struct box *box, const char *name, PyObject *const *given)
{
  if (box->owner == NULL) {
    PyErr_SetString(PyExc_ValueError, "the mailbox was not attached");
    return NULL;
  }
  return PyObject_CallMethod(box->owner, name, "(OOOOOO)", given[ENDPOINT], given[METHOD], given[DATA], given[TIMEOUT],
                             given[TRACEPARENT], given[TRACESTATE]);
}

static int
check_count(const char *name, Py_ssize_t count)
{
  if (count != ARGUMENTS) {
    PyErr_Format(PyExc_TypeError, "%s() takes exactly %d positional arguments (%zd given)", name, (int)ARGUMENTS,
                 count);
    return -1;
  }
  return 0;
}

static PyObject *
box_call(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
  struct box *box = box_of(self);
  uint64_t time_left;
  int sent;

  if (check_count("call", count) < 0 || (sent = send_call(box, given, &time_left)) < 0) {
    return NULL;
  }
  return sent ? wait_for(box, time_left) : call_by_pipe(box, "by_pipe", given);
}

static PyObject *
box_begin(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
  struct box *box = box_of(self);
  uint64_t time_left;
  int sent;

  if (check_count("begin", count) < 0 || (sent = send_call(box, given, &time_left)) < 0) {
    return NULL;
  }
  return sent ? wait_no_longer(box) : call_by_pipe(box, "begin_by_pipe", given);
}

/* Sends another frame than a CALL. */
static int
send_control(struct box *box, int kind, PyObject *payload)
{
  struct text text;
  int result = -1;

  text_none(&text);
  if (text_take(&text, payload, "payload") < 0) {
    return -1;
  }
  if (kind <= 0 || kind > UINT8_MAX || text.size > MAILBOX_AREA - HEADER) {
    PyErr_SetString(PyExc_ValueError, "such a frame does not fit into the mailbox");
  } else if (enter(box, IDLE) == 0) {
    send(box, put_header(box, HEADER + text.size, (uint8_t)kind), &text);
    result = 0;
  }
  text_release(&text);
  return result;
}

static PyObject *
box_control(PyObject *self, PyObject *arguments)
{
  struct box *box = box_of(self);
  PyObject *payload, *timeout;
  uint64_t time_left = 0;
  int kind;

  if (!PyArg_ParseTuple(arguments, "iOO:control", &kind, &payload, &timeout) ||
      (timeout != Py_None && take_timeout(timeout, &time_left) < 0) || send_control(box, kind, payload) < 0) {
    return NULL;
  }
  return wait_for(box, timeout != Py_None && time_left == 0 ? 1 : time_left);
}

static PyObject *
box_begin_control(PyObject *self, PyObject *arguments)
{
  PyObject *payload;
  int kind;

  if (!PyArg_ParseTuple(arguments, "iO:begin_control", &kind, &payload) ||
      send_control(box_of(self), kind, payload) < 0) {
    return NULL;
  }
  leave(box_of(self), OPEN);
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

static PyObject *
box_advance(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);
  struct mailbox_line *line;
  uint32_t old;
  bool ended;

  (void)unused;
  if (enter(box, OPEN) < 0) {
    return NULL;
  }
  line = &box->shared->reply;
  old = atomic_load_explicit(&box->number, memory_order_relaxed) - 1;
  drain(box->event_fd);
  ended = atomic_load_explicit(&box->ended, memory_order_seq_cst);
  if (!mailbox_arm(line, old) && !ended) {
    if (!box->armed) {
      box->armed = true;
      box->began = mailbox_now();
    }
    leave(box, OPEN);
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
  return take(box, false, 0);
}

static PyObject *
box_announce(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);

  (void)unused;
  if (enter(box, IDLE) < 0) {
    return NULL;
  }
  post(box, MAILBOX_PIPE);
  leave(box, IDLE);
  Py_RETURN_NONE;
}

static PyObject *
box_notify(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);
  uint32_t expected;

  (void)unused;
  atomic_store_explicit(&box->ended, true, memory_order_seq_cst);
  if (box->shared != NULL) {
    /* A waiter that has looked at `ended` before that, and not yet slept, must not sleep: the number has changed. */
    expected = atomic_load_explicit(&box->number, memory_order_seq_cst) - 1;
    (void)atomic_compare_exchange_strong(&box->shared->reply.number, &expected, expected ^ ENDED_BIT);
    mailbox_wake(&box->shared->reply.number);
  }
  Py_RETURN_NONE;
}

/* Gives back the pages that a large message has needed. */
static void
give_back(struct mailbox_line *line)
{
  (void)madvise((unsigned char *)line + MAILBOX_KEPT, MAILBOX_BLOCK - MAILBOX_KEPT, MADV_REMOVE);
}

static PyObject *
box_trim(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);
  const uint32_t number = atomic_load_explicit(&box->number, memory_order_relaxed);
  const bool idle = box->phase == IDLE && number == box->trimmed;

  (void)unused;
  box->trimmed = number;
  if (box->shared != NULL && box->dirty) {
    if (!idle) {
      Py_RETURN_FALSE;
    }
    give_back(&box->shared->request);
    give_back(&box->shared->reply);
    box->dirty = false;
  }
  Py_RETURN_TRUE;
}

static PyObject *
box_attach(PyObject *self, PyObject *arguments)
{
  struct box *box = box_of(self);
  PyObject *owner;
  unsigned long long max_output;

  if (!PyArg_ParseTuple(arguments, "OK:attach", &owner, &max_output)) {
    return NULL;
  }
  if (box->owner != NULL || box->shared == NULL) {
    PyErr_SetString(PyExc_ValueError, "the mailbox is closed, or was attached before");
    return NULL;
  }
  Py_INCREF(owner);
  box->owner = owner;
  box->max_output = max_output < box->state->max_answer ? max_output : box->state->max_answer;
  (void)close(box->memory_fd);
  box->memory_fd = -1;
  Py_RETURN_NONE;
}

static PyObject *
box_close(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);

  if (box->phase == BUSY) {
    box->closing = true;
    return box_notify(self, unused);
  }
  release(box);
  Py_RETURN_NONE;
}

/* Making one */

/* Makes the memory, of fixed size, and maps it. */
static int
make_memory(struct box *box)
{
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

#if defined(MFD_NOEXEC_SEAL)
  box->memory_fd = memfd_create("backworks-mailbox", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  if (box->memory_fd < 0 && errno == EINVAL) /* a kernel before 6.3 */
#endif
    box->memory_fd = memfd_create("backworks-mailbox", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (box->memory_fd < 0 || ftruncate(box->memory_fd, (off_t)MAILBOX_SIZE) != 0 ||
      fcntl(box->memory_fd, F_ADD_SEALS, seals) != 0) {
    return -1;
  }
  box->shared = mailbox_map(box->memory_fd);
  return box->shared != NULL ? 0 : -1;
}

PyObject *
mailbox_new(PyObject *module, PyObject *unused)
{
  const struct state *state = PyModule_GetState(module);
  struct box *box = box_of(PyType_GenericAlloc(state->mailbox_type, 0)); /* all zero */

  (void)unused;
  if (box == NULL) {
    return NULL;
  }
  box->state = state;
  box->memory_fd = -1;
  box->spin.limit = MAILBOX_LONGEST_SPIN;
  box->async_spin.limit = ASYNC_SPIN;
  box->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (box->event_fd < 0 || make_memory(box) < 0) {
    (void)PyErr_SetFromErrno(PyExc_OSError);
    Py_DECREF((PyObject *)box);
    return NULL;
  }
  return (PyObject *)box;
}

static int
box_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(box_of(self)->owner);
  return 0;
}

static int
box_clear(PyObject *self)
{
  Py_CLEAR(box_of(self)->owner);
  return 0;
}

static void
box_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  release(box_of(self));
  Py_XDECREF(box_of(self)->owner);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyObject *
box_get_memory_fd(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromLong(box_of(self)->memory_fd);
}

static PyObject *
box_get_event_fd(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromLong(box_of(self)->event_fd);
}

static PyObject *
box_get_ended(PyObject *self, void *unused)
{
  (void)unused;
  return PyBool_FromLong(atomic_load_explicit(&box_of(self)->ended, memory_order_seq_cst));
}

static PyObject *
box_get_is_open(PyObject *self, void *unused)
{
  (void)unused;
  return PyBool_FromLong(box_of(self)->phase == OPEN);
}

static PyObject *
box_get_is_ready(PyObject *self, void *unused)
{
  struct box *box = box_of(self);
  const uint32_t old = atomic_load_explicit(&box->number, memory_order_relaxed) - 1;

  (void)unused;
  return PyBool_FromLong(box->phase == OPEN && box->shared != NULL &&
                         atomic_load_explicit(&box->shared->reply.number, memory_order_acquire) != old);
}

#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef box_methods[] = {
  { "attach", box_attach, METH_VARARGS,
    "attach($self, owner, max_output, /)\n--\n\nSays whose it is, after the worker has got its descriptors." },
  { "call", FASTCALL(box_call), METH_FASTCALL,
    "call($self, endpoint, method, data, timeout, traceparent, tracestate, /)\n--\n\n"
    "Makes a call; see backworks.isolation.channels.channel.Channel." },
  { "begin", FASTCALL(box_begin), METH_FASTCALL,
    "begin($self, endpoint, method, data, timeout, traceparent, tracestate, /)\n--\n\n"
    "Begins a call; see backworks.isolation.channels.channel.Channel." },
  { "advance", box_advance, METH_NOARGS, "advance($self)\n--\n\nReturns the reply, or None if it is not there." },
  { "control", box_control, METH_VARARGS,
    "control($self, kind, payload, timeout, /)\n--\n\nSends another frame than a CALL and returns its reply." },
  { "begin_control", box_begin_control, METH_VARARGS,
    "begin_control($self, kind, payload, /)\n--\n\nSends another frame than a CALL." },
  { "announce", box_announce, METH_NOARGS, "announce($self)\n--\n\nTells the worker to read the request pipe." },
  { "notify", box_notify, METH_NOARGS, "notify($self)\n--\n\nTells that the worker has ended; wakes who waits." },
  { "trim", box_trim, METH_NOARGS,
    "trim($self)\n--\n\nGives the pages of large messages back if nothing was sent since it was called last; tells "
    "whether\nnone are left." },
  { "close", box_close, METH_NOARGS, "close($self)\n--\n\nEnds it; a call inside ends first." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef box_members[] = {
  { "memory_fd", box_get_memory_fd, NULL, "The descriptor of the memory; -1 after attach.", NULL },
  { "event_fd", box_get_event_fd, NULL, "The descriptor that becomes readable when a reply is there.", NULL },
  { "ended", box_get_ended, NULL, "Whether notify() was called.", NULL },
  { "is_open", box_get_is_open, NULL, "Whether a request was sent whose reply was not taken.", NULL },
  { "is_ready", box_get_is_ready, NULL, "Whether that reply is there.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot box_slots[] = {
  { Py_tp_doc, "The host's end of one worker's mailbox." },
  { Py_tp_methods, box_methods },
  { Py_tp_getset, box_members },
  { Py_tp_traverse, (void *)box_traverse },
  { Py_tp_clear, (void *)box_clear },
  { Py_tp_dealloc, (void *)box_dealloc },
  { 0, NULL },
};

PyType_Spec mailbox_spec = {
  .name = "backworks.ffi._native.Mailbox",
  .basicsize = sizeof(struct box),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = box_slots,
};

#else

/* C11 has no empty file. */
typedef int no_mailbox;

#endif
