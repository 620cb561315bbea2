/* SPDX-License-Identifier: MIT */
#include "admission.h"

#include <limits.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define WORD_ADD(at, number) _InterlockedExchangeAdd((at), (number)) /* each returns the previous value */
#define WORD_OR(at, bits) _InterlockedOr((at), (bits))
#define WORD_AND(at, bits) _InterlockedAnd((at), (bits))
#define WORD_SET(at, number) _InterlockedExchange((at), (number))
#define WORD_GET(at) _InterlockedOr((at), 0)
#else
#define WORD_ADD(at, number) __atomic_fetch_add((at), (number), __ATOMIC_SEQ_CST)
#define WORD_OR(at, bits) __atomic_fetch_or((at), (bits), __ATOMIC_SEQ_CST)
#define WORD_AND(at, bits) __atomic_fetch_and((at), (bits), __ATOMIC_SEQ_CST)
#define WORD_SET(at, number) __atomic_exchange_n((at), (number), __ATOMIC_SEQ_CST)
#define WORD_GET(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
#endif

/* A timeout in seconds that stands for no limit and that all systems' locks support. */
#define LONGEST_WAIT 1e5

static struct gate *
gate_of(PyObject *object)
{
  return (struct gate *)object;
}

static struct turn *
turn_of(PyObject *object)
{
  return (struct turn *)object;
}

/* Adds to the count of calls; returns the previous count. */
static inline word
count(struct gate *gate, word number)
{
#if defined(Py_GIL_DISABLED)
  return WORD_ADD(&gate->calls, number);
#else
  word before = gate->calls;
  gate->calls = before + number;
  return before;
#endif
}

/* Several threads may find the gate stopped and empty; the first releases the lock. */
static void
tell(struct gate *gate)
{
  if (WORD_SET(&gate->told, 1) == 0) {
    PyThread_release_lock(gate->empty);
  }
}

void
gate_leave(struct gate *gate)
{
  word before = count(gate, -GATE_CALL);

  if ((before & GATE_STOPPED) != 0 && before / GATE_CALL == 1) {
    tell(gate);
  }
}

bool
gate_enter(struct gate *gate)
{
  word before = count(gate, GATE_CALL);

  return (before & (GATE_ATTENTIVE | GATE_STOPPED)) == 0 && before / GATE_CALL < gate->most;
}

bool
gate_is_attentive(struct gate *gate)
{
  return (WORD_GET(&gate->calls) & GATE_ATTENTIVE) != 0;
}

/* The methods of Gate */

static PyObject *
gate_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
  PyObject *most;
  struct gate *gate;
  long number = LONG_MAX;

  if (keywords != NULL && PyDict_Size(keywords) != 0) {
    return PyErr_Format(PyExc_TypeError, "Gate() takes no keyword arguments");
  }
  if (!PyArg_ParseTuple(arguments, "O:Gate", &most)) {
    return NULL;
  }
  if (most != Py_None && (number = PyLong_AsLong(most)) == -1 && PyErr_Occurred()) {
    return NULL;
  }
  gate = gate_of(PyType_GenericAlloc(type, 0)); /* all zero */
  if (gate == NULL) {
    return NULL;
  }
  gate->most = number;
  gate->empty = PyThread_allocate_lock();
  if (gate->empty == NULL) {
    Py_DECREF((PyObject *)gate);
    return PyErr_NoMemory();
  }
  (void)PyThread_acquire_lock(gate->empty, NOWAIT_LOCK);
  return (PyObject *)gate;
}

static void
gate_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  if (gate_of(self)->empty != NULL) {
    PyThread_free_lock(gate_of(self)->empty);
  }
  PyObject_Free(self);
  Py_DECREF(type);
}

bool
gate_check(PyObject *object)
{
  return (destructor)PyType_GetSlot(Py_TYPE(object), Py_tp_dealloc) == gate_dealloc;
}

static PyObject *
gate_enter_method(PyObject *self, PyObject *unused)
{
  (void)unused;
  return PyBool_FromLong(gate_enter(gate_of(self)));
}

static PyObject *
gate_leave_method(PyObject *self, PyObject *unused)
{
  (void)unused;
  gate_leave(gate_of(self));
  Py_RETURN_NONE;
}

static PyObject *
gate_stop(PyObject *self, PyObject *unused)
{
  (void)unused;
  if (WORD_OR(&gate_of(self)->calls, GATE_STOPPED) / GATE_CALL == 0) {
    tell(gate_of(self));
  }
  Py_RETURN_NONE;
}

static PyObject *
gate_drain(PyObject *self, PyObject *timeout)
{
  double seconds = timeout == Py_None ? -1.0 : PyFloat_AsDouble(timeout);
  PY_TIMEOUT_T most;
  PyLockStatus status;

  if (seconds == -1.0 && PyErr_Occurred()) {
    return NULL;
  }
  if (seconds > LONGEST_WAIT) {
    seconds = LONGEST_WAIT;
  }
  most = timeout == Py_None ? -1 : seconds > 0 ? (PY_TIMEOUT_T)(seconds * 1e6) : 0;
  Py_BEGIN_ALLOW_THREADS
  status = PyThread_acquire_lock_timed(gate_of(self)->empty, most, 1);
  if (status == PY_LOCK_ACQUIRED) {
    PyThread_release_lock(gate_of(self)->empty); /* it stays empty */
  }
  Py_END_ALLOW_THREADS
  if (status == PY_LOCK_INTR && PyErr_CheckSignals() < 0) {
    return NULL;
  }
  return PyBool_FromLong(status == PY_LOCK_ACQUIRED);
}

static PyObject *
gate_get_inside(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromLong(WORD_GET(&gate_of(self)->calls) / GATE_CALL);
}

static PyObject *
gate_get_attentive(PyObject *self, void *unused)
{
  (void)unused;
  return PyBool_FromLong(gate_is_attentive(gate_of(self)));
}

static int
gate_set_attentive(PyObject *self, PyObject *value, void *unused)
{
  int attentive = value == NULL ? -1 : PyObject_IsTrue(value);

  (void)unused;
  if (attentive < 0) {
    if (value == NULL) {
      PyErr_SetString(PyExc_AttributeError, "attentive cannot be deleted");
    }
    return -1;
  }
  if (attentive) {
    (void)WORD_OR(&gate_of(self)->calls, GATE_ATTENTIVE);
  } else {
    (void)WORD_AND(&gate_of(self)->calls, ~(word)GATE_ATTENTIVE);
  }
  return 0;
}

static PyObject *
gate_get_period(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromLong(WORD_GET(&gate_of(self)->period));
}

static int
gate_set_period(PyObject *self, PyObject *value, void *unused)
{
  long period = value == NULL ? -1 : PyLong_AsLong(value);

  (void)unused;
  if (period < 0) {
    if (!PyErr_Occurred()) {
      PyErr_SetString(PyExc_ValueError, "a period is 0 or more");
    }
    return -1;
  }
  (void)WORD_SET(&gate_of(self)->period, period);
  return 0;
}

static PyMethodDef gate_methods[] = {
  { "enter", gate_enter_method, METH_NOARGS,
    "enter($self)\n--\n\nCounts a call in; returns whether it may go on without asking." },
  { "leave", gate_leave_method, METH_NOARGS, "leave($self)\n--\n\nCounts a call out." },
  { "stop", gate_stop, METH_NOARGS, "stop($self)\n--\n\nMakes every call ask, for good." },
  { "drain", gate_drain, METH_O,
    "drain($self, timeout, /)\n--\n\nWaits, after stop(), until no call is inside; returns whether that is so." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef gate_members[] = {
  { "inside", gate_get_inside, NULL, "How many calls are inside.", NULL },
  { "attentive", gate_get_attentive, gate_set_attentive, "Whether each call has to ask.", NULL },
  { "period", gate_get_period, gate_set_period, "The circuit breaker's period, for calls that need not ask.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot gate_slots[] = {
  { Py_tp_doc, "Counts the calls that are inside of a plugin; see backworks.isolation.admission." },
  { Py_tp_new, (void *)gate_new },
  { Py_tp_methods, gate_methods },
  { Py_tp_getset, gate_members },
  { Py_tp_dealloc, (void *)gate_dealloc },
  { 0, NULL },
};

PyType_Spec gate_spec = {
  .name = "backworks.ffi._native.Gate",
  .basicsize = sizeof(struct gate),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = gate_slots,
};

/* Turns */

static word
this_thread(void)
{
  return (word)PyThread_get_thread_ident();
}

/* Raises the exception of a nested call. Returns -1. */
static int
refuse_nested(struct turn *turn)
{
  PyObject *error = PyObject_CallNoArgs(turn->nested);

  if (error != NULL) {
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
  }
  return -1;
}

/* Waits without the interpreter lock, which the holder may need to finish. */
static int
wait(struct turn *turn)
{
  PyLockStatus status;

  if (WORD_GET(&turn->thread) == this_thread()) {
    return refuse_nested(turn);
  }
  do {
    Py_BEGIN_ALLOW_THREADS
    status = PyThread_acquire_lock_timed(turn->lock, -1, 1);
    Py_END_ALLOW_THREADS
    if (status != PY_LOCK_ACQUIRED && PyErr_CheckSignals() < 0) {
      return -1;
    }
  } while (status != PY_LOCK_ACQUIRED);
  return 0;
}

int
turn_take(struct turn *turn)
{
  if (turn == NULL) {
    return 0;
  }
  if (!PyThread_acquire_lock(turn->lock, NOWAIT_LOCK) && wait(turn) < 0) {
    return -1;
  }
  (void)WORD_SET(&turn->thread, this_thread());
  return 0;
}

void
turn_give(struct turn *turn)
{
  if (turn != NULL) {
    (void)WORD_SET(&turn->thread, 0);
    PyThread_release_lock(turn->lock);
  }
}

/* The methods of Turn */

static PyObject *
turn_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
  PyObject *nested;
  struct turn *turn;

  if (keywords != NULL && PyDict_Size(keywords) != 0) {
    return PyErr_Format(PyExc_TypeError, "Turn() takes no keyword arguments");
  }
  if (!PyArg_ParseTuple(arguments, "O:Turn", &nested)) {
    return NULL;
  }
  turn = turn_of(PyType_GenericAlloc(type, 0)); /* all zero */
  if (turn == NULL) {
    return NULL;
  }
  Py_INCREF(nested);
  turn->nested = nested;
  turn->lock = PyThread_allocate_lock();
  if (turn->lock == NULL) {
    Py_DECREF((PyObject *)turn);
    return PyErr_NoMemory();
  }
  return (PyObject *)turn;
}

static PyObject *
turn_enter(PyObject *self, PyObject *unused)
{
  (void)unused;
  if (turn_take(turn_of(self)) < 0) {
    return NULL;
  }
  Py_RETURN_NONE;
}

static PyObject *
turn_exit(PyObject *self, PyObject *unused)
{
  (void)unused;
  if (WORD_GET(&turn_of(self)->thread) != this_thread()) {
    PyErr_SetString(PyExc_RuntimeError, "the turn is another thread's");
    return NULL;
  }
  turn_give(turn_of(self));
  Py_RETURN_NONE;
}

static int
turn_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(turn_of(self)->nested);
  return 0;
}

static void
turn_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  if (turn_of(self)->lock != NULL) {
    PyThread_free_lock(turn_of(self)->lock);
  }
  Py_XDECREF(turn_of(self)->nested);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef turn_methods[] = {
  { "__enter__", turn_enter, METH_NOARGS, "Waits for the turn." },
  { "__exit__", turn_exit, METH_VARARGS, "Gives it back." },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot turn_slots[] = {
  { Py_tp_doc, "The lock of a plugin that is not thread-safe; see backworks.isolation.channels.inline." },
  { Py_tp_new, (void *)turn_new },
  { Py_tp_methods, turn_methods },
  { Py_tp_traverse, (void *)turn_traverse },
  { Py_tp_dealloc, (void *)turn_dealloc },
  { 0, NULL },
};

PyType_Spec turn_spec = {
  .name = "backworks.ffi._native.Turn",
  .basicsize = sizeof(struct turn),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = turn_slots,
};
