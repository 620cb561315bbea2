/* SPDX-License-Identifier: MIT
 *
 * The type Mailbox: the host's end of a mailbox (native/wire/mailbox.h). mailbox_box.h has its phases. */
#include "mailbox_box.h"

#if HAVE_MAILBOX

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

/* What notify does to the number, which makes it neither the old one nor the one that is awaited. */
#define ENDED_BIT UINT32_C(0x80000000)

static struct box *
box_of(PyObject *object)
{
  return (struct box *)object;
}

/* Phases */

static void
release(struct box *box)
{
  box->phase = CLOSED;
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

static int
check_alive(const struct box *box)
{
  if (box->phase == NEW || box->phase == CLOSING || box->phase == CLOSED) {
    PyErr_SetString(PyExc_ValueError, "the mailbox is closed, or was not attached");
    return -1;
  }
  return 0;
}

int
box_enter(struct box *box, enum phase phase)
{
  if (box->phase == phase) {
    box->phase = BUSY;
    return 0;
  }
  if (check_alive(box) == 0) {
    PyErr_SetString(PyExc_RuntimeError, box->phase == IDLE
                                            ? "no request is open in the mailbox"
                                            : "a request is open in the mailbox; it takes one at a time");
  }
  return -1;
}

void
box_leave(struct box *box, enum phase phase)
{
  if (box->phase == CLOSING) {
    release(box);
  } else {
    box->phase = phase;
  }
}

PyObject *
box_raise(struct box *box, enum need type, const char *text)
{
  PyErr_SetString(box->needs[type], text);
  return NULL;
}

/* The methods */

/* Has Python make a call that does not fit. */
static PyObject *
call_by_pipe(struct box *box, enum need function, PyObject *const *given)
{
  if (check_alive(box) < 0) {
    return NULL;
  }
  return PyObject_CallFunctionObjArgs(box->needs[function], given[BOX_ENDPOINT], given[BOX_METHOD], given[BOX_DATA],
                                      given[BOX_TIMEOUT], given[BOX_TRACEPARENT], given[BOX_TRACESTATE], NULL);
}

static int
check_count(const char *name, Py_ssize_t count)
{
  if (count != BOX_ARGUMENTS) {
    PyErr_Format(PyExc_TypeError, "%s() takes exactly %d positional arguments (%zd given)", name, (int)BOX_ARGUMENTS,
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

  if (check_count("call", count) < 0 || (sent = box_send_call(box, given, &time_left)) < 0) {
    return NULL;
  }
  return sent ? box_wait(box, time_left) : call_by_pipe(box, NEED_BY_PIPE, given);
}

static PyObject *
box_begin(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
  struct box *box = box_of(self);
  uint64_t time_left;
  int sent;

  if (check_count("begin", count) < 0 || (sent = box_send_call(box, given, &time_left)) < 0) {
    return NULL;
  }
  return sent ? box_wait_no_longer(box) : call_by_pipe(box, NEED_BEGIN_BY_PIPE, given);
}

static PyObject *
box_control(PyObject *self, PyObject *arguments)
{
  struct box *box = box_of(self);
  PyObject *payload, *timeout;
  uint64_t time_left = 0;
  int kind;

  if (!PyArg_ParseTuple(arguments, "iOO:control", &kind, &payload, &timeout) ||
      (timeout != Py_None && take_timeout(timeout, &time_left) < 0) || box_send_control(box, kind, payload) < 0) {
    return NULL;
  }
  return box_wait(box, timeout != Py_None && time_left == 0 ? 1 : time_left);
}

static PyObject *
box_begin_control(PyObject *self, PyObject *arguments)
{
  PyObject *payload;
  int kind;

  if (!PyArg_ParseTuple(arguments, "iO:begin_control", &kind, &payload) ||
      box_send_control(box_of(self), kind, payload) < 0) {
    return NULL;
  }
  box_leave(box_of(self), OPEN);
  Py_RETURN_NONE;
}

static PyObject *
box_advance(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);

  (void)unused;
  return box_enter(box, OPEN) < 0 ? NULL : box_look(box);
}

static PyObject *
box_announce(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);

  (void)unused;
  if (box_enter(box, IDLE) < 0) {
    return NULL;
  }
  box_post(box, MAILBOX_PIPE);
  box_leave(box, IDLE);
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

static PyObject *
box_trim(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);
  const uint32_t number = box_number(box);
  const bool idle = box->phase == IDLE && number == box->trimmed;

  (void)unused;
  box->trimmed = number;
  if (box->shared != NULL && box->dirty) {
    if (!idle) {
      Py_RETURN_FALSE;
    }
    mailbox_give_back(&box->shared->request);
    mailbox_give_back(&box->shared->reply);
    box->dirty = false;
  }
  Py_RETURN_TRUE;
}

static PyObject *
box_attach(PyObject *self, PyObject *arguments, PyObject *keywords)
{
  /* The order is that of enum need. */
  static char *names[] = { "",          "large",           "judge", "by_pipe", "begin_by_pipe",
                           "from_pipe", "begin_from_pipe", "gone",  "late",    "frame_error", NULL };
  struct box *box = box_of(self);
  PyObject *needs[NEEDS];
  unsigned long long max_output;
  size_t i;

  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "K$OOOOOOOOO:attach", names, &max_output, &needs[NEED_LARGE],
                                   &needs[NEED_JUDGE], &needs[NEED_BY_PIPE], &needs[NEED_BEGIN_BY_PIPE],
                                   &needs[NEED_FROM_PIPE], &needs[NEED_BEGIN_FROM_PIPE], &needs[NEED_GONE],
                                   &needs[NEED_LATE], &needs[NEED_FRAME_ERROR])) {
    return NULL;
  }
  if (box->phase != NEW) {
    PyErr_SetString(PyExc_ValueError, "the mailbox is closed, or was attached before");
    return NULL;
  }
  for (i = 0; i < NEEDS; i++) {
    Py_INCREF(needs[i]);
    box->needs[i] = needs[i];
  }
  box->max_output = max_output < MAX_DATA ? max_output : MAX_DATA;
  (void)close(box->memory_fd);
  box->memory_fd = -1;
  box->phase = IDLE;
  Py_RETURN_NONE;
}

static PyObject *
box_close(PyObject *self, PyObject *unused)
{
  struct box *box = box_of(self);

  if (box->phase == BUSY || box->phase == CLOSING) {
    box->phase = CLOSING;
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
  size_t i;

  Py_VISIT(Py_TYPE(self));
  for (i = 0; i < NEEDS; i++) {
    Py_VISIT(box_of(self)->needs[i]);
  }
  return 0;
}

/* Closes it as well, because nothing works without what it was given. */
static int
box_clear(PyObject *self)
{
  size_t i;

  release(box_of(self));
  for (i = 0; i < NEEDS; i++) {
    Py_CLEAR(box_of(self)->needs[i]);
  }
  return 0;
}

static void
box_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  (void)box_clear(self);
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
  return PyBool_FromLong(box_has_ended(box_of(self)));
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
  const uint32_t old = box_number(box) - 1;

  (void)unused;
  return PyBool_FromLong(box->phase == OPEN &&
                         atomic_load_explicit(&box->shared->reply.number, memory_order_acquire) != old);
}

#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef box_methods[] = {
  { "attach", (PyCFunction)(void (*)(void))box_attach, METH_VARARGS | METH_KEYWORDS,
    "attach($self, max_output, /, *, large, judge, by_pipe, begin_by_pipe, from_pipe, begin_from_pipe, gone, late, "
    "frame_error)\n--\n\nGives it what it needs for requests, after the worker has got its descriptors." },
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
