/* SPDX-License-Identifier: MIT
 *
 * The usual way of a call to a worker process: the last of those that are free is taken, called and put back, with the
 * interpreter lock held around both, so that neither another thread nor a signal's handler comes upon a worker that is
 * nobody's. What is not usual (no worker is free, others wait, the time is none, the call fails) is left to Python; see
 * backworks.isolation.processes. Free-threaded builds, which have no such lock, go without. */
#include "../binding/binding.h"

#include <stddef.h>

enum { LANE_ENDPOINT, LANE_METHOD, LANE_DATA, LANE_TIMEOUT, LANE_TRACEPARENT, LANE_TRACESTATE, LANE_ARGUMENTS };

enum part {
  FREE,    /* the list of free workers */
  WAITING, /* those who wait for one */
  SLOW,    /* makes a call in the other ways */
  FAILED,  /* is given the worker whose call has failed, and raises */
  LOOK,    /* looks after those who wait and workers that are dead */
  PARTS
};

struct lane {
  PyObject_HEAD
  PyObject *parts[PARTS]; /* NULL after the collector */
  PyObject *call;         /* "call" */
  PyObject *dead;         /* "dead" */
};

static struct lane *
lane_of(PyObject *object)
{
  return (struct lane *)object;
}

/* Takes the worker that was put back last. Returns NULL, maybe without an exception, if this is not the way. */
static PyObject *
take_worker(struct lane *lane, PyObject *timeout)
{
  PyObject *free = lane->parts[FREE], *worker;
  Py_ssize_t count = PyList_Size(free);
  uint64_t time_left = 1;

  if (timeout != Py_None && take_timeout(timeout, &time_left) < 0) {
    PyErr_Clear(); /* said where the call is made in the other way */
    return NULL;
  }
  if (time_left == 0 || count <= 0 || PyObject_IsTrue(lane->parts[WAITING]) != 0) {
    return NULL;
  }
  worker = PyList_GetItem(free, count - 1);
  Py_XINCREF(worker);
  if (worker != NULL && PyList_SetSlice(free, count - 1, count, NULL) < 0) {
    Py_CLEAR(worker);
  }
  return worker;
}

/* Puts a worker back whose call was answered. */
static int
give_worker(struct lane *lane, PyObject *worker)
{
  PyObject *dead, *result;
  int look;

  if (PyList_Append(lane->parts[FREE], worker) < 0) {
    return -1;
  }
  /* Only now: who joins those that wait, or marks a worker as dead, looks into the list after that. */
  dead = PyObject_GetAttr(worker, lane->dead);
  look = dead == NULL ? -1 : PyObject_IsTrue(dead);
  Py_XDECREF(dead);
  if (look == 0) {
    look = PyObject_IsTrue(lane->parts[WAITING]);
  }
  if (look <= 0) {
    return look;
  }
  result = PyObject_CallNoArgs(lane->parts[LOOK]);
  Py_XDECREF(result);
  return result == NULL ? -1 : 0;
}

/* Has Python make an exception of the one that is set. Returns NULL. */
static PyObject *
failed(struct lane *lane, PyObject *worker, PyObject *const *given)
{
  PyObject *type, *value, *traceback, *result;

  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  result = PyObject_CallFunctionObjArgs(lane->parts[FAILED], worker, value, given[LANE_ENDPOINT], given[LANE_TIMEOUT],
                                        NULL);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
  if (result != NULL) {
    Py_DECREF(result);
    PyErr_SetString(PyExc_RuntimeError, "a call has failed and nothing was raised");
  }
  return NULL;
}

static PyObject *
lane_process(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
  struct lane *lane = lane_of(self);
  PyObject *worker, *call, *reply = NULL;

  if (count != LANE_ARGUMENTS) {
    PyErr_Format(PyExc_TypeError, "process() takes exactly %d positional arguments (%zd given)", (int)LANE_ARGUMENTS,
                 count);
    return NULL;
  }
  if (lane->parts[FREE] == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the plugin was collected");
    return NULL;
  }
  worker = take_worker(lane, given[LANE_TIMEOUT]);
  if (worker == NULL) {
    return PyErr_Occurred() ? NULL
                            : PyObject_CallFunctionObjArgs(lane->parts[SLOW], given[LANE_ENDPOINT], given[LANE_METHOD],
                                                           given[LANE_DATA], given[LANE_TIMEOUT],
                                                           given[LANE_TRACEPARENT], given[LANE_TRACESTATE], NULL);
  }
  call = PyObject_GetAttr(worker, lane->call);
  if (call != NULL) {
    reply = PyObject_CallFunctionObjArgs(call, given[LANE_ENDPOINT], given[LANE_METHOD], given[LANE_DATA],
                                         given[LANE_TIMEOUT], given[LANE_TRACEPARENT], given[LANE_TRACESTATE], NULL);
    Py_DECREF(call);
  }
  if (reply == NULL) {
    (void)failed(lane, worker, given);
  } else if (give_worker(lane, worker) < 0) {
    Py_CLEAR(reply);
  }
  Py_DECREF(worker);
  return reply;
}

static int
lane_traverse(PyObject *self, visitproc visit, void *arg)
{
  size_t i;

  Py_VISIT(Py_TYPE(self));
  for (i = 0; i < PARTS; i++) {
    Py_VISIT(lane_of(self)->parts[i]);
  }
  return 0;
}

static int
lane_clear(PyObject *self)
{
  size_t i;

  for (i = 0; i < PARTS; i++) {
    Py_CLEAR(lane_of(self)->parts[i]);
  }
  return 0;
}

static void
lane_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  (void)lane_clear(self);
  Py_XDECREF(lane_of(self)->call);
  Py_XDECREF(lane_of(self)->dead);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

PyObject *
lane_new(PyObject *module, PyObject *arguments)
{
  const struct state *state = PyModule_GetState(module);
  PyObject *parts[PARTS];
  struct lane *lane;
  size_t i;

  if (!PyArg_ParseTuple(arguments, "O!OOOO:lane", &PyList_Type, &parts[FREE], &parts[WAITING], &parts[SLOW],
                        &parts[FAILED], &parts[LOOK])) {
    return NULL;
  }
  lane = lane_of(PyType_GenericAlloc(state->lane_type, 0)); /* all zero */
  if (lane == NULL) {
    return NULL;
  }
  for (i = 0; i < PARTS; i++) {
    Py_INCREF(parts[i]);
    lane->parts[i] = parts[i];
  }
  lane->call = PyUnicode_InternFromString("call");
  lane->dead = PyUnicode_InternFromString("dead");
  if (lane->call == NULL || lane->dead == NULL) {
    Py_DECREF((PyObject *)lane);
    return NULL;
  }
  return (PyObject *)lane;
}

static PyMethodDef lane_methods[] = {
  { "process", (PyCFunction)(void (*)(void))lane_process, METH_FASTCALL,
    "process($self, endpoint, method, data, timeout, traceparent, tracestate, /)\n--\n\n"
    "Makes a call; see backworks.isolation.runner.Runner." },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot lane_slots[] = {
  { Py_tp_doc, "The usual way of a call to a worker process." },
  { Py_tp_methods, lane_methods },
  { Py_tp_traverse, (void *)lane_traverse },
  { Py_tp_clear, (void *)lane_clear },
  { Py_tp_dealloc, (void *)lane_dealloc },
  { 0, NULL },
};

PyType_Spec lane_spec = {
  .name = "backworks.ffi._native.Lane",
  .basicsize = sizeof(struct lane),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = lane_slots,
};
