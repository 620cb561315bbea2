/* SPDX-License-Identifier: MIT
 *
 * The calls of a plugin that runs elsewhere, in threads of its own or in a worker process: the methods
 * process_endpoint_data and answer of its Plugin, as a Caller has them for `isolation: none`. What makes the call is the
 * runner's method `process`; here its arguments are sorted and most answers made without a Python function in between.
 *
 * What is rare is left to Python methods of the owner, as in caller.c. */
#include "../binding/binding.h"

struct front {
  PyObject_HEAD
  PyObject *owner;   /* the Plugin; NULL after the collector, as are the others */
  PyObject *process; /* the runner's method */
  PyObject *timeout; /* for calls without one of their own */
  const struct state *state;
  PyObject *get;   /* "GET" */
  PyObject *empty; /* "" */
};

static struct front *
front_of(PyObject *object)
{
  return (struct front *)object;
}

/* Says in the owner's words that the answer breaks the rules. Returns NULL. */
static PyObject *
violates(struct front *front)
{
  PyObject *type, *value, *traceback, *text, *result = NULL;

  PyErr_Fetch(&type, &value, &traceback);
  text = value != NULL ? PyObject_Str(value) : NULL;
  if (text != NULL) {
    result = PyObject_CallMethod(front->owner, "_violates", "(O)", text);
    Py_DECREF(text);
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
  return result;
}

/* Has the runner make the call. Returns its Reply. */
static PyObject *
process(struct front *front, PyObject *const *values)
{
  PyObject *timeout = values[CALL_TIMEOUT], *reply;

  if (front->owner == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the plugin was collected");
    return NULL;
  }
  if (timeout == NULL || timeout == Py_None) {
    timeout = front->timeout;
  }
  reply = PyObject_CallFunctionObjArgs(
      front->process, values[CALL_ENDPOINT], values[CALL_METHOD] != NULL ? values[CALL_METHOD] : front->get,
      values[CALL_DATA] != NULL ? values[CALL_DATA] : front->empty, timeout,
      values[CALL_TRACEPARENT] != NULL ? values[CALL_TRACEPARENT] : Py_None,
      values[CALL_TRACESTATE] != NULL ? values[CALL_TRACESTATE] : Py_None, NULL);
  if (reply == NULL && PyErr_ExceptionMatches(front->state->violation)) {
    return violates(front);
  }
  return reply;
}

/* Returns the data of a Reply with code OK and no HTTP field, borrowed; or else NULL, without an exception. */
static PyObject *
plain(PyObject *reply)
{
  static const Py_ssize_t unset[] = { 0, 2, 3, 4 }; /* code, HTTP status, content type, headers */
  PyObject *data;
  size_t i;

  if (!PyTuple_Check(reply) || PyTuple_Size(reply) != 5) {
    return NULL;
  }
  for (i = 0; i < sizeof unset / sizeof *unset; i++) {
    PyObject *value = PyTuple_GetItem(reply, unset[i]);
    if (value != Py_None && PyObject_IsTrue(value) != 0) { /* an int or bytes: no exception */
      return NULL;
    }
  }
  data = PyTuple_GetItem(reply, 1);
  return PyBytes_Check(data) ? data : NULL;
}

static PyObject *
front_process(PyObject *self, PyObject *const *given, Py_ssize_t positional, PyObject *keywords)
{
  struct front *front = front_of(self);
  PyObject *values[CALL_ARGUMENTS], *reply, *data, *made = NULL;
  int as_bytes = 0;

  if (sort_arguments(&call_signature, front->state->argument_names, given, positional, keywords, values) < 0 ||
      (values[CALL_RAW] != NULL && (as_bytes = PyObject_IsTrue(values[CALL_RAW])) < 0)) {
    return NULL;
  }
  reply = process(front, values);
  if (reply == NULL) {
    return NULL;
  }
  data = plain(reply);
  if (data != NULL && as_bytes) {
    Py_INCREF(data);
    made = data;
  } else if (data != NULL) {
    made = PyUnicode_DecodeUTF8(PyBytes_AsString(data), PyBytes_Size(data), NULL);
    if (made == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
      PyErr_Clear();
      data = NULL; /* said below */
    }
  }
  if (data == NULL) {
    made = PyObject_CallMethod(front->owner, "_text_of", "(OO)", reply, as_bytes ? Py_True : Py_False);
  }
  Py_DECREF(reply);
  return made;
}

static PyObject *
front_answer(PyObject *self, PyObject *const *given, Py_ssize_t positional, PyObject *keywords)
{
  struct front *front = front_of(self);
  PyObject *values[CALL_ARGUMENTS], *reply, *made;

  if (sort_arguments(&answer_signature, front->state->argument_names, given, positional, keywords, values) < 0) {
    return NULL;
  }
  reply = process(front, values);
  if (reply == NULL) {
    return NULL;
  }
  made = plain(reply);
  if (made != NULL) {
    Py_INCREF(made);
  } else {
    made = PyObject_CallMethod(front->owner, "_answer_of", "(O)", reply);
  }
  Py_DECREF(reply);
  return made;
}

static int
front_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(front_of(self)->owner);
  Py_VISIT(front_of(self)->process);
  Py_VISIT(front_of(self)->timeout);
  return 0;
}

static int
front_clear(PyObject *self)
{
  Py_CLEAR(front_of(self)->owner);
  Py_CLEAR(front_of(self)->process);
  Py_CLEAR(front_of(self)->timeout);
  return 0;
}

static void
front_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  (void)front_clear(self);
  Py_XDECREF(front_of(self)->get);
  Py_XDECREF(front_of(self)->empty);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

PyObject *
front_new(PyObject *module, PyObject *arguments)
{
  const struct state *state = PyModule_GetState(module);
  PyObject *owner, *method, *timeout;
  struct front *front;

  if (!PyArg_ParseTuple(arguments, "OOO:front", &owner, &method, &timeout)) {
    return NULL;
  }
  front = front_of(PyType_GenericAlloc(state->front_type, 0)); /* all zero */
  if (front == NULL) {
    return NULL;
  }
  Py_INCREF(owner);
  front->owner = owner;
  Py_INCREF(method);
  front->process = method;
  Py_INCREF(timeout);
  front->timeout = timeout;
  front->state = state;
  front->get = PyUnicode_InternFromString("GET");
  front->empty = PyUnicode_InternFromString("");
  if (front->get == NULL || front->empty == NULL) {
    Py_DECREF((PyObject *)front);
    return NULL;
  }
  return (PyObject *)front;
}

static PyMethodDef front_methods[] = {
  { "process_endpoint_data", (PyCFunction)(void (*)(void))front_process, METH_FASTCALL | METH_KEYWORDS,
    PROCESS_DOC },
  { "answer", (PyCFunction)(void (*)(void))front_answer, METH_FASTCALL | METH_KEYWORDS, ANSWER_DOC },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot front_slots[] = {
  { Py_tp_doc, "The calls of one plugin that runs elsewhere." },
  { Py_tp_methods, front_methods },
  { Py_tp_traverse, (void *)front_traverse },
  { Py_tp_clear, (void *)front_clear },
  { Py_tp_dealloc, (void *)front_dealloc },
  { 0, NULL },
};

PyType_Spec front_spec = {
  .name = "backworks.ffi._native.Front",
  .basicsize = sizeof(struct front),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = front_slots,
};
