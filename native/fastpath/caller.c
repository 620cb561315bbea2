/* SPDX-License-Identifier: MIT
 *
 * The calls of a plugin with `isolation: none`, from Python's arguments to Python's answer, with no Python in between:
 * the methods process_endpoint_data and answer of a Plugin are those of its Caller.
 *
 * The gate and the turn of gate.h are taken before the call, and given back as soon as the answer needs nothing of the
 * plugin any more.
 *
 * What is rare (an error, HTTP fields, an answer that breaks the rules or is not UTF-8, a plugin that takes no calls)
 * is left to Python methods of the owner, so that every binding has the same words for it. */
#include "../binding/binding.h"
#include "gate.h"

#include <stddef.h>
#include <string.h>

struct caller {
  PyObject_HEAD
  PyObject *owner; /* the Plugin: keeps it alive, as Python's own methods do; NULL after the collector */
  struct instance *instance;
  const struct state *state; /* of the module, which the instance's type keeps */
  uint64_t time_left;        /* for calls without a timeout of their own */
  struct gate gate;
  struct turn turn;
};

/* What a call returns. */
enum shape {
  AS_TEXT,   /* str */
  AS_BYTES,  /* bytes */
  AS_ANSWER, /* bytes, or a PluginResult where the plugin has set HTTP fields */
};

/* Seconds that are as good as for ever, and that every system's locks can wait. */
#define LONGEST_WAIT 1e5

static struct caller *
caller_of(PyObject *object)
{
  return (struct caller *)object;
}

/* Has the owner say why a call is not let in: because this thread is inside already, or because the gate is stopped. */
static void
refuse(struct caller *caller, PyObject *nested)
{
  PyObject *result = PyObject_CallMethod(caller->owner, "_refuse", "(O)", nested);

  if (result != NULL) {
    Py_DECREF(result);
    PyErr_SetString(PyExc_RuntimeError, "the plugin takes no calls");
  }
}

/* Lets a call in and gives it its turn. Returns the plugin, or NULL with an exception. */
static backworks_plugin *
enter(struct caller *caller)
{
  backworks_plugin *plugin;
  int nested;

  if (caller->owner == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the plugin was collected");
    return NULL;
  }
  if (!gate_enter(&caller->gate)) {
    refuse(caller, Py_False);
    return NULL;
  }
  nested = turn_take(&caller->turn);
  if (nested == 0) {
    plugin = caller->instance->plugin; /* read only now: taking the turn may have let others run */
    if (plugin != NULL) {
      return plugin;
    }
    turn_give(&caller->turn);
    PyErr_SetString(PyExc_RuntimeError, "the instance was shut down");
  } else if (nested == 1) {
    refuse(caller, Py_True);
  }
  gate_leave(&caller->gate);
  return NULL;
}

/* Arguments */

static const char *const argument_names[CALL_ARGUMENTS] = {
  "endpoint", "method", "data", "timeout", "traceparent", "tracestate", "as_bytes",
};

const struct signature call_signature = {
  "process_endpoint_data", argument_names, CALL_ARGUMENTS, CALL_DATA + 1, CALL_ENDPOINT + 1,
};
const struct signature answer_signature = { "answer", argument_names, CALL_RAW, CALL_RAW, CALL_DATA + 1 };

int
caller_setup(struct state *state)
{
  size_t i;

  for (i = 0; i < CALL_ARGUMENTS; i++) {
    state->argument_names[i] = PyUnicode_InternFromString(argument_names[i]);
    if (state->argument_names[i] == NULL) {
      return -1;
    }
  }
  return 0;
}

/* Borrows from a bytes object that nobody else keeps; takes the reference. NULL is passed on. */
static int
take_own(struct text *text, PyObject *bytes)
{
  int result;

  if (bytes == NULL) {
    return -1;
  }
  result = PyObject_GetBuffer(bytes, &text->buffer, PyBUF_SIMPLE);
  Py_DECREF(bytes);
  if (result == 0) {
    text->data = text->buffer.buf;
    text->size = (size_t)text->buffer.len;
  }
  return result;
}

int
take_data(struct text *text, PyObject *value)
{
  if (text_take(text, value, argument_names[CALL_DATA]) == 0) {
    return 0;
  }
  if (!PyErr_ExceptionMatches(PyExc_BufferError)) {
    return -1;
  }
  PyErr_Clear();
  return take_own(text, PyBytes_FromObject(value));
}

int
take_field(struct text *text, PyObject *value, const char *what)
{
  if (value == NULL || value == Py_None) {
    return 0;
  }
  if (text_take(text, value, what) < 0) {
    return -1;
  }
  if (PyUnicode_Check(value) && PyUnicode_GetLength(value) != (Py_ssize_t)text->size) {
    return take_own(text, PyUnicode_AsLatin1String(value));
  }
  return 0;
}

/* Answers */

/* Hands a large answer back to the plugin, after copying it to `copy` if that is not NULL, and ends the turn. */
static void
finish_large(struct caller *caller, struct answer *answer, char *copy)
{
  const struct functions *functions = &caller->instance->library->functions;
  Py_BEGIN_ALLOW_THREADS
  if (copy != NULL) {
    memcpy(copy, answer->seen.data, answer->seen.size);
  }
  functions->free_string(answer->seen.data, answer->seen.size);
  turn_give(&caller->turn);
  Py_END_ALLOW_THREADS
  answer->freed = true;
}

/* Makes the answer of a call that went well and set no HTTP field. Returns NULL without an exception if the text is not
 * UTF-8; the answer is then as it was. */
static PyObject *
make_plain(struct caller *caller, struct answer *answer, enum shape shape)
{
  const char *data = answer->seen.data;
  Py_ssize_t size = (Py_ssize_t)answer->seen.size;
  PyObject *made;

  if (data == NULL) {
    Py_RETURN_NONE;
  }
  if (shape == AS_TEXT) {
    made = PyUnicode_DecodeUTF8(data, size, NULL);
    if (made == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
      PyErr_Clear();
      return NULL;
    }
  } else {
    made = PyBytes_FromStringAndSize(answer->freed ? data : NULL, size);
  }
  if (!answer->freed) {
    PyErr_Clear(); /* of a MemoryError, which is set again below */
    finish_large(caller, answer, made != NULL && shape != AS_TEXT ? PyBytes_AsString(made) : NULL);
  }
  return made != NULL ? made : PyErr_NoMemory();
}

/* Has the owner make the answer, or the exception. */
static PyObject *
make_other(struct caller *caller, PyObject *reply, enum shape shape)
{
  if (shape == AS_ANSWER) {
    return PyObject_CallMethod(caller->owner, "_answer_of", "(O)", reply);
  }
  return PyObject_CallMethod(caller->owner, "_text_of", "OO", reply, shape == AS_BYTES ? Py_True : Py_False);
}

/* Makes what the call returns, and ends the call: its turn, if it still has that, and its stay. */
static PyObject *
finish(struct caller *caller, struct answer *answer, enum shape shape)
{
  const backworks_response *seen = &answer->seen;
  PyObject *made = NULL, *reply = NULL;
  bool large = !answer->freed;

  if (answer->broken_field == NULL && answer->code == BACKWORKS_OK && seen->http_status == 0 &&
      seen->content_type_size == 0 && seen->headers_size == 0) {
    made = make_plain(caller, answer, shape);
    if (made != NULL || PyErr_Occurred()) {
      gate_leave(&caller->gate);
      return made;
    }
  }
  if (answer->broken_field == NULL) {
    reply = answer_reply(answer, caller->state, &caller->instance->library->functions);
  } else {
    reply = answer_violation(answer);
  }
  if (large) {
    turn_give(&caller->turn);
  }
  gate_leave(&caller->gate);
  if (reply != NULL) {
    if (answer->broken_field == NULL) {
      made = make_other(caller, reply, shape);
    } else {
      made = PyObject_CallMethod(caller->owner, "_violates", "(O)", reply);
    }
    Py_DECREF(reply);
  }
  return made;
}

static PyObject *
call(struct caller *caller, PyObject *const *values, enum shape shape)
{
  const struct functions *functions = &caller->instance->library->functions;
  struct texts texts;
  backworks_request request;
  struct answer answer;
  backworks_plugin *plugin;
  PyObject *made = NULL;
  uint64_t time_left = caller->time_left;

  texts_none(&texts);
  if (text_take(&texts.endpoint, values[CALL_ENDPOINT], argument_names[CALL_ENDPOINT]) < 0) {
    return NULL;
  }
  if (values[CALL_METHOD] == NULL) {
    texts.method.data = "GET";
    texts.method.size = 3;
  } else if (text_take(&texts.method, values[CALL_METHOD], argument_names[CALL_METHOD]) < 0) {
    goto out;
  }
  if (values[CALL_DATA] == NULL) {
    texts.data.data = "";
  } else if (take_data(&texts.data, values[CALL_DATA]) < 0) {
    goto out;
  }
  if (take_field(&texts.traceparent, values[CALL_TRACEPARENT], argument_names[CALL_TRACEPARENT]) < 0 ||
      take_field(&texts.tracestate, values[CALL_TRACESTATE], argument_names[CALL_TRACESTATE]) < 0) {
    goto out;
  }
  if (values[CALL_TIMEOUT] != NULL && values[CALL_TIMEOUT] != Py_None) {
    if (take_timeout(values[CALL_TIMEOUT], &time_left) < 0) {
      goto out;
    }
    time_left += time_left == 0; /* 0 would be no limit */
  }
  plugin = enter(caller);
  if (plugin == NULL) {
    goto out;
  }

  request_make(&request, &texts, time_left);
  answer_prepare(&answer);
  Py_BEGIN_ALLOW_THREADS
  int32_t code = functions->process(plugin, &request, &answer.response);
  answer_take(&answer, code, caller->state, functions);
  if (answer.freed) {
    turn_give(&caller->turn);
  }
  Py_END_ALLOW_THREADS
  made = finish(caller, &answer, shape);

out:
  texts_release(&texts);
  return made;
}

/* The methods */

static PyObject *
caller_process(PyObject *self, PyObject *const *given, Py_ssize_t positional, PyObject *keywords)
{
  struct caller *caller = caller_of(self);
  PyObject *values[CALL_ARGUMENTS];
  int as_bytes;

  if (sort_arguments(&call_signature, caller->state->argument_names, given, positional, keywords, values) < 0) {
    return NULL;
  }
  as_bytes = values[CALL_RAW] == Py_True;
  if (!as_bytes && values[CALL_RAW] != NULL && (as_bytes = PyObject_IsTrue(values[CALL_RAW])) < 0) {
    return NULL;
  }
  return call(caller, values, as_bytes ? AS_BYTES : AS_TEXT);
}

static PyObject *
caller_answer(PyObject *self, PyObject *const *given, Py_ssize_t positional, PyObject *keywords)
{
  struct caller *caller = caller_of(self);
  PyObject *values[CALL_ARGUMENTS];

  if (sort_arguments(&answer_signature, caller->state->argument_names, given, positional, keywords, values) < 0) {
    return NULL;
  }
  return call(caller, values, AS_ANSWER);
}

static PyObject *
caller_run(PyObject *self, PyObject *job)
{
  struct caller *caller = caller_of(self);
  PyObject *result;

  if (enter(caller) == NULL) {
    return NULL;
  }
  result = PyObject_CallNoArgs(job);
  turn_give(&caller->turn);
  gate_leave(&caller->gate);
  return result;
}

static PyObject *
caller_stop(PyObject *self, PyObject *unused)
{
  (void)unused;
  gate_stop(&caller_of(self)->gate);
  Py_RETURN_NONE;
}

static PyObject *
caller_drain(PyObject *self, PyObject *timeout)
{
  double seconds = timeout == Py_None ? -1.0 : PyFloat_AsDouble(timeout);
  int empty;

  if (seconds == -1.0 && PyErr_Occurred()) {
    return NULL;
  }
  if (seconds > LONGEST_WAIT) {
    seconds = LONGEST_WAIT;
  }
  empty = gate_drain(&caller_of(self)->gate, timeout == Py_None ? -1 : seconds > 0 ? (PY_TIMEOUT_T)(seconds * 1e6) : 0);
  return empty < 0 ? NULL : PyBool_FromLong(empty);
}

static PyObject *
caller_get_inside(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromLong(gate_inside(&caller_of(self)->gate));
}

PyObject *
caller_new(struct instance *instance, const struct state *state, PyObject *arguments)
{
  PyObject *owner;
  unsigned long long time_left;
  int thread_safe;
  struct caller *caller;

  if (!PyArg_ParseTuple(arguments, "OKp:caller", &owner, &time_left, &thread_safe)) {
    return NULL;
  }
  caller = caller_of(PyType_GenericAlloc(state->caller_type, 0)); /* all zero */
  if (caller == NULL) {
    return NULL;
  }
  Py_INCREF(owner);
  caller->owner = owner;
  Py_INCREF((PyObject *)instance);
  caller->instance = instance;
  caller->state = state;
  caller->time_left = time_left;
  if (gate_make(&caller->gate) < 0 || turn_make(&caller->turn, thread_safe) < 0) {
    Py_DECREF((PyObject *)caller);
    return NULL;
  }
  return (PyObject *)caller;
}

static int
caller_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(caller_of(self)->owner);
  Py_VISIT((PyObject *)caller_of(self)->instance);
  return 0;
}

static int
caller_clear(PyObject *self)
{
  Py_CLEAR(caller_of(self)->owner);
  return 0;
}

static void
caller_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);
  struct caller *caller = caller_of(self);

  PyObject_GC_UnTrack(self);
  gate_end(&caller->gate);
  turn_end(&caller->turn);
  Py_XDECREF(caller->owner);
  Py_XDECREF((PyObject *)caller->instance);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef caller_methods[] = {
  { "process_endpoint_data", (PyCFunction)(void (*)(void))caller_process, METH_FASTCALL | METH_KEYWORDS,
    PROCESS_DOC },
  { "answer", (PyCFunction)(void (*)(void))caller_answer, METH_FASTCALL | METH_KEYWORDS, ANSWER_DOC },
  { "run", caller_run, METH_O, "run($self, job, /)\n--\n\nCalls a function as if it were a call of the plugin." },
  { "stop", caller_stop, METH_NOARGS, "stop($self)\n--\n\nLets no new call in." },
  { "drain", caller_drain, METH_O,
    "drain($self, timeout, /)\n--\n\nWaits, after stop(), until no call is inside; tells whether that is so." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef caller_members[] = {
  { "inside", caller_get_inside, NULL, "How many calls are inside.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot caller_slots[] = {
  { Py_tp_doc, "The calls of one plugin." },
  { Py_tp_methods, caller_methods },
  { Py_tp_getset, caller_members },
  { Py_tp_traverse, (void *)caller_traverse },
  { Py_tp_clear, (void *)caller_clear },
  { Py_tp_dealloc, (void *)caller_dealloc },
  { 0, NULL },
};

PyType_Spec caller_spec = {
  .name = "backworks.ffi._native.Caller",
  .basicsize = sizeof(struct caller),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = caller_slots,
};
