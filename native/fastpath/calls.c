/* SPDX-License-Identifier: MIT
 *
 * The type Calls: the methods process_endpoint_data and answer of backworks.compiled_plugin.CompiledPlugin, which
 * replace those of backworks.Plugin. In the normal case, no Python code runs between the caller and the plugin. In any
 * other case, the callables given to `attach` run, so that all bindings behave alike.
 *
 * The path of a call: its arguments are parsed; it enters through the gate (admission.h), or asks; it is made by one of
 *
 *   an instance  in this thread, for `isolation: none`: arguments are borrowed, and a plain response is converted
 *                without a Reply; the turn of a plugin that is not thread-safe is given back as soon as the response no
 *                longer needs the plugin
 *   a slot       for `isolation: process`: the slot is taken, its `call` called, and the slot given back (slots.h); if
 *                no slot is free, Python waits for one
 *   a function   for every other runner
 *
 * A response with code OK is returned directly if it has no HTTP fields, or those of the response before it: Python has
 * found them valid, and valid bytes stay valid. Any other response is settled in Python. Then the call leaves. */
#include "admission.h"
#include "slots.h"

#include <stddef.h>
#include <string.h>

/* The largest content type and block of headers that are remembered, in bytes. */
#define LARGEST_FIELD 256

/* An HTTP field that Python has found valid. */
struct field {
  size_t size;     /* 0 if none is remembered */
  PyObject *value; /* what Python has made of it */
  char bytes[LARGEST_FIELD];
};

struct calls {
  PyObject_HEAD
  const struct state *state; /* of the module; NULL before attach */
  struct gate *gate;         /* NULL before attach and after garbage collection, like the following */
  PyObject *ask;             /* admits or rejects a call that must ask: () -> period */
  PyObject *settle;          /* converts a Reply that is not plain: (period, reply) -> result */
  PyObject *fail;            /* reports an exception, or raises another: (period, exception) -> None */
  PyObject *not_text;        /* raises for bytes that are not UTF-8: (bytes) */
  PyObject *timeout;         /* the default timeout of calls */
  uint64_t time_left;        /* the same in nanoseconds */
  bool judged;               /* whether every exception is reported to `fail` */
  PyObject *get;             /* "GET" */
  PyObject *empty;           /* "" */
  PyObject *result_type;     /* PluginResult, once there was one */
  PyObject *no_headers;      /* () */
  struct field content_type; /* of the last answer that was settled well */
  struct field headers;
  /* What makes the calls. */
  struct instance *instance;
  struct turn *turn; /* NULL for a thread-safe plugin */
  struct free_slots *slots;
  PyObject *slow;     /* makes the call if no slot can be taken */
  PyObject *failed;   /* handles the slot of a failed call: (slot, exception, endpoint, timeout) -> exception */
  PyObject *function;
};

/* The form of a call's result. */
enum shape {
  AS_TEXT,   /* str */
  AS_BYTES,  /* bytes */
  AS_ANSWER, /* bytes, or a PluginResult if the plugin has set HTTP fields */
};

static struct calls *
calls_of(PyObject *object)
{
  return (struct calls *)object;
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
calls_setup(struct state *state)
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

/* Borrows from a bytes object and takes its only reference. Passes NULL on. */
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

/* Converts bytes to a str. */
static PyObject *
text_of(struct calls *calls, PyObject *data)
{
  PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AsString(data), PyBytes_Size(data), NULL);

  if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
    PyErr_Clear();
    return PyObject_CallFunctionObjArgs(calls->not_text, data, NULL);
  }
  return text;
}

/* Converts a response to the call's result: bytes, None, or a PluginResult, a tuple whose first item is the data. Takes
 * the reference; passes NULL on. */
static PyObject *
shaped(struct calls *calls, PyObject *answer, enum shape shape)
{
  PyObject *data = answer, *made;

  if (answer == NULL || shape == AS_ANSWER) {
    return answer;
  }
  if (PyTuple_Check(answer)) {
    data = PyTuple_GetItem(answer, 0);
  }
  if (data != NULL && shape == AS_TEXT && PyBytes_Check(data)) {
    made = text_of(calls, data);
  } else {
    Py_XINCREF(data);
    made = data;
  }
  Py_DECREF(answer);
  return made;
}

/* Whether a field is not set, or the one that was remembered. */
static bool
is_known(const struct field *field, const char *data, size_t size)
{
  return size == 0 || (size == field->size && memcmp(field->bytes, data, size) == 0);
}

/* The HTTP fields of one answer as Python has found them valid. It keeps a reference to each: while its result is made,
 * another call may put other fields in the place of those that are remembered. */
struct fields {
  unsigned long status;
  PyObject *content_type; /* NULL if it is not set, as is the next */
  PyObject *headers;
};

/* Takes the fields of an answer. Returns false if Python has to look at them. */
static bool
take_fields(struct fields *fields, const struct calls *calls, unsigned long status, const char *type, size_t type_size,
            const char *headers, size_t headers_size)
{
  const bool plain = status == 0 && type_size == 0 && headers_size == 0;

  if (!plain && (calls->result_type == NULL || (status != 0 && (status < 200 || status > 599)) ||
                 !is_known(&calls->content_type, type, type_size) ||
                 !is_known(&calls->headers, headers, headers_size))) {
    return false;
  }
  fields->status = status;
  fields->content_type = type_size > 0 ? calls->content_type.value : NULL;
  Py_XINCREF(fields->content_type);
  fields->headers = headers_size > 0 ? calls->headers.value : NULL;
  Py_XINCREF(fields->headers);
  return true;
}

static void
release_fields(struct fields *fields)
{
  Py_XDECREF(fields->content_type);
  Py_XDECREF(fields->headers);
}

/* Makes the PluginResult of data and fields; takes the reference to the data. Without fields, or without data, the
 * result is the data itself. */
static PyObject *
with_fields(struct calls *calls, PyObject *data, const struct fields *fields)
{
  PyObject *number, *values, *arguments, *result = NULL;

  if (data == NULL || data == Py_None ||
      (fields->status == 0 && fields->content_type == NULL && fields->headers == NULL)) {
    return data;
  }
  if (fields->status == 0) {
    Py_INCREF(Py_None);
    number = Py_None;
  } else {
    number = PyLong_FromUnsignedLong(fields->status);
  }
  values = number == NULL ? NULL
                          : PyTuple_Pack(4, data, number, fields->content_type != NULL ? fields->content_type : Py_None,
                                         fields->headers != NULL ? fields->headers : calls->no_headers);
  arguments = values == NULL ? NULL : PyTuple_Pack(1, values);
  if (arguments != NULL) {
    result = calls->state->tuple_new((PyTypeObject *)calls->result_type, arguments, NULL); /* as of a Reply */
  }
  Py_XDECREF(arguments);
  Py_XDECREF(values);
  Py_XDECREF(number);
  Py_DECREF(data);
  return result;
}

static void
remember_field(struct field *field, PyObject *raw, PyObject *value)
{
#if defined(Py_GIL_DISABLED)
  (void)LARGEST_FIELD; /* another thread may compare at the same time: every field is settled in Python there */
  (void)field;
  (void)raw;
  (void)value;
#else
  if (raw != NULL && value != NULL && PyBytes_Check(raw) && PyBytes_Size(raw) > 0 &&
      PyBytes_Size(raw) <= LARGEST_FIELD) {
    PyObject *old = field->value;

    field->size = (size_t)PyBytes_Size(raw);
    memcpy(field->bytes, PyBytes_AsString(raw), field->size);
    Py_INCREF(value);
    field->value = value;
    Py_XDECREF(old);
  }
#endif
}

/* Remembers the fields of a Reply that Python has found valid. */
static void
remember(struct calls *calls, PyObject *reply, PyObject *result)
{
  if (!PyTuple_Check(reply) || PyTuple_Size(reply) != 5 || !PyTuple_Check(result) || PyTuple_Size(result) != 4) {
    return;
  }
  if (calls->result_type == NULL) {
    Py_INCREF((PyObject *)Py_TYPE(result));
    calls->result_type = (PyObject *)Py_TYPE(result);
  }
  remember_field(&calls->content_type, PyTuple_GetItem(reply, 3), PyTuple_GetItem(result, 2));
  remember_field(&calls->headers, PyTuple_GetItem(reply, 4), PyTuple_GetItem(result, 3));
}

/* Calls one of the two callables that take the period. */
static PyObject *
with_period(PyObject *callable, word period, PyObject *argument)
{
  PyObject *number = PyLong_FromLong(period), *result;

  if (number == NULL) {
    return NULL;
  }
  result = PyObject_CallFunctionObjArgs(callable, number, argument, NULL);
  Py_DECREF(number);
  return result;
}

/* Has Python make the result of a Reply. */
static PyObject *
settle(struct calls *calls, word period, PyObject *reply)
{
  PyObject *result = with_period(calls->settle, period, reply);

  if (result != NULL) {
    remember(calls, reply, result);
  }
  return result;
}

/* Handles the exception of a call. Returns NULL with that exception, or with the one that `fail` raises. */
static PyObject *
call_failed(struct calls *calls, word period)
{
  PyObject *type, *value, *traceback, *result;

  if (!calls->judged && !PyErr_ExceptionMatches(calls->state->violation)) {
    return NULL;
  }
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  result = with_period(calls->fail, period, value);
  if (result == NULL) {
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return NULL;
  }
  Py_DECREF(result);
  PyErr_Restore(type, value, traceback);
  return NULL;
}

/* Calls of an instance, in this thread */

/* Copies a large response to `copy`, unless that is NULL, lets the plugin free it, and ends the turn. */
static void
finish_large(struct calls *calls, struct answer *answer, char *copy)
{
  const struct functions *functions = &calls->instance->library->functions;
  Py_BEGIN_ALLOW_THREADS
  if (copy != NULL) {
    memcpy(copy, answer->seen.data, answer->seen.size);
  }
  functions->free_string(answer->seen.data, answer->seen.size);
  turn_give(calls->turn);
  Py_END_ALLOW_THREADS
  answer->freed = true;
}

/* Converts a plain response. Returns NULL without an exception, and leaves the response unchanged, if a str is
 * requested and the data is not UTF-8. */
static PyObject *
make_plain(struct calls *calls, struct answer *answer, enum shape shape)
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
    PyErr_Clear(); /* a MemoryError, which is set again below */
    finish_large(calls, answer, made != NULL && shape != AS_TEXT ? PyBytes_AsString(made) : NULL);
  }
  return made != NULL ? made : PyErr_NoMemory();
}

/* Converts the response to the call's result, and ends its turn if it still holds it. */
static PyObject *
finish(struct calls *calls, struct answer *answer, enum shape shape, word period)
{
  const backworks_response *seen = &answer->seen;
  const bool large = !answer->freed;
  struct fields fields;
  PyObject *made, *reply;

  if (answer->broken_field == NULL && answer->code == BACKWORKS_OK && !gate_is_attentive(calls->gate) &&
      take_fields(&fields, calls, seen->http_status, seen->content_type, seen->content_type_size, seen->headers,
                  seen->headers_size)) {
    made = make_plain(calls, answer, shape);
    if (shape == AS_ANSWER) {
      made = with_fields(calls, made, &fields);
    }
    release_fields(&fields);
    if (made != NULL || PyErr_Occurred()) {
      return made;
    }
  }
  reply = answer_reply(answer, calls->state, &calls->instance->library->functions);
  if (large) {
    turn_give(calls->turn);
  }
  if (reply == NULL) {
    return call_failed(calls, period);
  }
  made = settle(calls, period, reply);
  Py_DECREF(reply);
  return shaped(calls, made, shape);
}

static PyObject *
call_instance(struct calls *calls, PyObject *const *values, enum shape shape, word period)
{
  const struct functions *functions = &calls->instance->library->functions;
  struct texts texts;
  backworks_request request;
  struct answer answer;
  backworks_plugin *plugin;
  PyObject *made = NULL;
  uint64_t time_left = calls->time_left;

  texts_none(&texts);
  if (text_take(&texts.endpoint, values[CALL_ENDPOINT], argument_names[CALL_ENDPOINT]) < 0) {
    return call_failed(calls, period);
  }
  if (values[CALL_METHOD] == NULL) {
    texts.method.data = "GET";
    texts.method.size = 3;
  } else if (text_take(&texts.method, values[CALL_METHOD], argument_names[CALL_METHOD]) < 0) {
    goto failed;
  }
  if (values[CALL_DATA] == NULL) {
    texts.data.data = "";
  } else if (take_data(&texts.data, values[CALL_DATA]) < 0) {
    goto failed;
  }
  if (take_field(&texts.traceparent, values[CALL_TRACEPARENT], argument_names[CALL_TRACEPARENT]) < 0 ||
      take_field(&texts.tracestate, values[CALL_TRACESTATE], argument_names[CALL_TRACESTATE]) < 0) {
    goto failed;
  }
  if (values[CALL_TIMEOUT] != NULL && values[CALL_TIMEOUT] != Py_None) {
    if (take_timeout(values[CALL_TIMEOUT], &time_left) < 0) {
      goto failed;
    }
    time_left += time_left == 0; /* 0 would mean no limit */
  }
  if (turn_take(calls->turn) < 0) {
    goto failed;
  }
  plugin = calls->instance->plugin; /* read after taking the turn, which may let others run */
  if (plugin == NULL) {
    turn_give(calls->turn);
    PyErr_SetString(PyExc_RuntimeError, "the instance was shut down");
    goto failed;
  }

  request_make(&request, &texts, time_left);
  answer_prepare(&answer);
  Py_BEGIN_ALLOW_THREADS
  int32_t code = functions->process(plugin, &request, &answer.response);
  answer_take(&answer, code, calls->state, functions);
  if (answer.freed) {
    turn_give(calls->turn);
  }
  Py_END_ALLOW_THREADS
  made = finish(calls, &answer, shape, period);
  texts_release(&texts);
  return made;

failed:
  texts_release(&texts);
  return call_failed(calls, period);
}

/* Calls of another runner */

enum { ENDPOINT, METHOD, DATA, TIMEOUT, TRACEPARENT, TRACESTATE, ARGUMENTS };

static PyObject *
call_with(PyObject *callable, PyObject *const *given)
{
  return PyObject_CallFunctionObjArgs(callable, given[ENDPOINT], given[METHOD], given[DATA], given[TIMEOUT],
                                      given[TRACEPARENT], given[TRACESTATE], NULL);
}

/* Lets Python handle the slot of a failed call. Returns NULL with the exception that it creates. */
static PyObject *
slot_failed(struct calls *calls, struct slot *slot, PyObject *const *given)
{
  PyObject *type, *value, *traceback, *error;

  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  error = PyObject_CallFunctionObjArgs(calls->failed, (PyObject *)slot, value, given[ENDPOINT], given[TIMEOUT], NULL);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
  if (error != NULL) {
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
  }
  return NULL;
}

/* Makes a call with a free slot. Returns its Reply. */
static PyObject *
call_slot(struct calls *calls, PyObject *const *given)
{
  uint64_t time_left = 1;
  struct slot *slot = NULL;
  PyObject *reply;

  if (given[TIMEOUT] != Py_None && take_timeout(given[TIMEOUT], &time_left) < 0) {
    PyErr_Clear(); /* the slow path raises it again */
    time_left = 0;
  }
  if (time_left != 0) {
    slot = slots_take(calls->slots);
  }
  if (slot == NULL) {
    return PyErr_Occurred() ? NULL : call_with(calls->slow, given);
  }
  reply = call_with(slot->call, given);
  if (reply == NULL) {
    (void)slot_failed(calls, slot, given);
  } else if (slots_give(calls->slots, slot) < 0) {
    Py_CLEAR(reply);
  }
  Py_DECREF((PyObject *)slot);
  return reply;
}

/* Gives the bytes of an item that is bytes, or none for None. Returns whether it is one of the two. */
static bool
item_bytes(PyObject *tuple, Py_ssize_t index, const char **data, size_t *size)
{
  PyObject *item = PyTuple_GetItem(tuple, index);

  *data = NULL;
  *size = 0;
  if (item == Py_None) {
    return true;
  }
  if (item == NULL || !PyBytes_Check(item)) {
    return false;
  }
  *data = PyBytes_AsString(item);
  *size = (size_t)PyBytes_Size(item);
  return true;
}

/* Makes the result of a Reply with code OK whose fields are known. Returns NULL, without an exception, for any other. */
static PyObject *
quick(struct calls *calls, PyObject *reply)
{
  const char *data, *type, *headers;
  size_t size, type_size, headers_size;
  struct fields fields;
  PyObject *answer;
  unsigned long status;

  if (!PyTuple_Check(reply) || PyTuple_Size(reply) != 5 || PyObject_IsTrue(PyTuple_GetItem(reply, 0)) != 0 ||
      !item_bytes(reply, 1, &data, &size) || !item_bytes(reply, 3, &type, &type_size) ||
      !item_bytes(reply, 4, &headers, &headers_size)) {
    PyErr_Clear(); /* not a Reply: Python says so */
    return NULL;
  }
  status = PyLong_AsUnsignedLong(PyTuple_GetItem(reply, 2));
  if (status == (unsigned long)-1 && PyErr_Occurred()) {
    PyErr_Clear();
    return NULL;
  }
  if (!take_fields(&fields, calls, status, type, type_size, headers, headers_size)) {
    return NULL;
  }
  answer = PyTuple_GetItem(reply, 1);
  Py_INCREF(answer);
  answer = with_fields(calls, answer, &fields);
  release_fields(&fields);
  return answer;
}

static PyObject *
call_runner(struct calls *calls, PyObject *const *values, enum shape shape, word period)
{
  PyObject *const timeout = values[CALL_TIMEOUT];
  PyObject *given[ARGUMENTS], *reply, *answer;

  given[ENDPOINT] = values[CALL_ENDPOINT];
  given[METHOD] = values[CALL_METHOD] != NULL ? values[CALL_METHOD] : calls->get;
  given[DATA] = values[CALL_DATA] != NULL ? values[CALL_DATA] : calls->empty;
  given[TIMEOUT] = timeout != NULL && timeout != Py_None ? timeout : calls->timeout;
  given[TRACEPARENT] = values[CALL_TRACEPARENT] != NULL ? values[CALL_TRACEPARENT] : Py_None;
  given[TRACESTATE] = values[CALL_TRACESTATE] != NULL ? values[CALL_TRACESTATE] : Py_None;
  reply = calls->slots != NULL ? call_slot(calls, given) : call_with(calls->function, given);
  if (reply == NULL) {
    return call_failed(calls, period);
  }
  answer = gate_is_attentive(calls->gate) ? NULL : quick(calls, reply);
  if (answer == NULL && !PyErr_Occurred()) {
    answer = settle(calls, period, reply);
  }
  Py_DECREF(reply);
  return shaped(calls, answer, shape);
}

/* Every call */

/* Lets Python admit or reject a call. Returns -1 with an exception. */
static int
ask(struct calls *calls, word *period)
{
  PyObject *number = PyObject_CallNoArgs(calls->ask);

  if (number == NULL) {
    return -1;
  }
  *period = PyLong_AsLong(number);
  Py_DECREF(number);
  return *period == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *
call(struct calls *calls, PyObject *const *values, enum shape shape)
{
  struct gate *gate = calls->gate;
  word period;
  PyObject *made = NULL;

  if (gate == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the plugin was collected, or was not attached");
    return NULL;
  }
  period = gate->period;
  if (gate_enter(gate) || ask(calls, &period) == 0) {
    if (calls->instance != NULL) {
      made = call_instance(calls, values, shape, period);
    } else {
      made = call_runner(calls, values, shape, period);
    }
  }
  gate_leave(gate);
  return made;
}

/* The methods */

static PyObject *
calls_process(PyObject *self, PyObject *const *given, Py_ssize_t positional, PyObject *keywords)
{
  struct calls *calls = calls_of(self);
  PyObject *values[CALL_ARGUMENTS];
  int as_bytes;

  if (calls->state == NULL) {
    return call(calls, NULL, AS_TEXT); /* raises */
  }
  if (sort_arguments(&call_signature, calls->state->argument_names, given, positional, keywords, values) < 0) {
    return NULL;
  }
  as_bytes = values[CALL_RAW] == Py_True;
  if (!as_bytes && values[CALL_RAW] != NULL && (as_bytes = PyObject_IsTrue(values[CALL_RAW])) < 0) {
    return NULL;
  }
  return call(calls, values, as_bytes ? AS_BYTES : AS_TEXT);
}

static PyObject *
calls_answer(PyObject *self, PyObject *const *given, Py_ssize_t positional, PyObject *keywords)
{
  struct calls *calls = calls_of(self);
  PyObject *values[CALL_ARGUMENTS];

  if (calls->state == NULL) {
    return call(calls, NULL, AS_ANSWER); /* raises */
  }
  if (sort_arguments(&answer_signature, calls->state->argument_names, given, positional, keywords, values) < 0) {
    return NULL;
  }
  return call(calls, values, AS_ANSWER);
}

/* Stores a reference to an object in an empty field. */
static void
keep(PyObject **field, PyObject *object)
{
  Py_INCREF(object);
  *field = object;
}

static PyObject *
calls_attach(PyObject *self, PyObject *arguments)
{
  struct calls *calls = calls_of(self);
  PyObject *gate, *ask, *settle, *fail, *not_text, *timeout;
  int judged;

  if (!PyArg_ParseTuple(arguments, "OOOOOOp:_attach", &gate, &ask, &settle, &fail, &not_text, &timeout, &judged)) {
    return NULL;
  }
  if (calls->gate != NULL) {
    PyErr_SetString(PyExc_ValueError, "the plugin was attached before");
    return NULL;
  }
  if (!gate_check(gate)) {
    PyErr_SetString(PyExc_TypeError, "gate must be a Gate");
    return NULL;
  }
  calls->state = PyType_GetModuleState(Py_TYPE(gate));
  if (timeout != Py_None) {
    if (take_timeout(timeout, &calls->time_left) < 0) {
      calls->state = NULL;
      return NULL;
    }
    calls->time_left += calls->time_left == 0; /* 0 would mean no limit */
  }
  calls->get = PyUnicode_InternFromString("GET");
  calls->empty = PyUnicode_InternFromString("");
  calls->no_headers = PyTuple_New(0);
  if (calls->get == NULL || calls->empty == NULL || calls->no_headers == NULL) {
    return NULL;
  }
  calls->judged = judged != 0;
  keep(&calls->ask, ask);
  keep(&calls->settle, settle);
  keep(&calls->fail, fail);
  keep(&calls->not_text, not_text);
  keep(&calls->timeout, timeout);
  Py_INCREF(gate);
  calls->gate = (struct gate *)gate;
  Py_RETURN_NONE;
}

/* Checks that the plugin is attached and that nothing makes its calls yet. */
static int
check_unused(struct calls *calls)
{
  if (calls->gate == NULL || calls->instance != NULL || calls->slots != NULL || calls->function != NULL) {
    PyErr_SetString(PyExc_ValueError, "the plugin was not attached, or has something that makes its calls");
    return -1;
  }
  return 0;
}

static PyObject *
calls_use_instance(PyObject *self, PyObject *arguments)
{
  struct calls *calls = calls_of(self);
  PyObject *instance, *turn;

  if (check_unused(calls) < 0 ||
      !PyArg_ParseTuple(arguments, "O!O:_use_instance", calls->state->instance_type, &instance, &turn)) {
    return NULL;
  }
  if (turn != Py_None && !Py_IS_TYPE(turn, calls->state->turn_type)) {
    PyErr_SetString(PyExc_TypeError, "turn must be a Turn or None");
    return NULL;
  }
  if (turn != Py_None) {
    Py_INCREF(turn);
    calls->turn = (struct turn *)turn;
  }
  Py_INCREF(instance);
  calls->instance = (struct instance *)instance;
  Py_RETURN_NONE;
}

static PyObject *
calls_use_function(PyObject *self, PyObject *function)
{
  if (check_unused(calls_of(self)) < 0) {
    return NULL;
  }
  keep(&calls_of(self)->function, function);
  Py_RETURN_NONE;
}

#if !defined(Py_GIL_DISABLED)
static PyObject *
calls_use_slots(PyObject *self, PyObject *arguments)
{
  struct calls *calls = calls_of(self);
  PyObject *slots, *slow, *failed;

  if (check_unused(calls) < 0 ||
      !PyArg_ParseTuple(arguments, "O!OO:_use_slots", calls->state->free_slots_type, &slots, &slow, &failed)) {
    return NULL;
  }
  keep(&calls->slow, slow);
  keep(&calls->failed, failed);
  Py_INCREF(slots);
  calls->slots = (struct free_slots *)slots;
  Py_RETURN_NONE;
}
#endif

static int
calls_traverse(PyObject *self, visitproc visit, void *arg)
{
  const struct calls *calls = calls_of(self);

  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)calls->gate);
  Py_VISIT(calls->ask);
  Py_VISIT(calls->settle);
  Py_VISIT(calls->fail);
  Py_VISIT(calls->not_text);
  Py_VISIT((PyObject *)calls->instance);
  Py_VISIT((PyObject *)calls->turn);
  Py_VISIT((PyObject *)calls->slots);
  Py_VISIT(calls->slow);
  Py_VISIT(calls->failed);
  Py_VISIT(calls->function);
  Py_VISIT(calls->result_type);
  return 0;
}

/* After this a call raises. */
static int
calls_clear(PyObject *self)
{
  struct calls *calls = calls_of(self);

  Py_CLEAR(calls->gate);
  Py_CLEAR(calls->ask);
  Py_CLEAR(calls->settle);
  Py_CLEAR(calls->fail);
  Py_CLEAR(calls->not_text);
  Py_CLEAR(calls->timeout);
  Py_CLEAR(calls->instance);
  Py_CLEAR(calls->turn);
  Py_CLEAR(calls->slots);
  Py_CLEAR(calls->slow);
  Py_CLEAR(calls->failed);
  Py_CLEAR(calls->function);
  return 0;
}

static void
calls_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self); /* usually a subclass written in Python */
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

  PyObject_GC_UnTrack(self);
  (void)calls_clear(self);
  Py_XDECREF(calls_of(self)->get);
  Py_XDECREF(calls_of(self)->empty);
  Py_XDECREF(calls_of(self)->no_headers);
  Py_XDECREF(calls_of(self)->result_type);
  Py_XDECREF(calls_of(self)->content_type.value);
  Py_XDECREF(calls_of(self)->headers.value);
  release(self);
  Py_DECREF(type);
}

static PyMethodDef calls_methods[] = {
  { "process_endpoint_data", (PyCFunction)(void (*)(void))calls_process, METH_FASTCALL | METH_KEYWORDS,
    PROCESS_DOC },
  { "answer", (PyCFunction)(void (*)(void))calls_answer, METH_FASTCALL | METH_KEYWORDS, ANSWER_DOC },
  { "_attach", calls_attach, METH_VARARGS,
    "_attach($self, gate, ask, settle, fail, not_text, timeout, judged, /)\n--\n\n"
    "Sets the gate of calls, and the callables for calls outside the normal case." },
  { "_use_instance", calls_use_instance, METH_VARARGS,
    "_use_instance($self, instance, turn, /)\n--\n\nMakes an Instance make the calls." },
#if !defined(Py_GIL_DISABLED)
  { "_use_slots", calls_use_slots, METH_VARARGS,
    "_use_slots($self, free, slow, failed, /)\n--\n\nMakes the workers of free slots make the calls." },
#endif
  { "_use_function", calls_use_function, METH_O,
    "_use_function($self, function, /)\n--\n\nMakes a function make the calls: backworks.isolation.runner.Runner.process." },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot calls_slots[] = {
  { Py_tp_doc, "The calls of one plugin; see backworks.compiled_plugin." },
  { Py_tp_new, (void *)PyType_GenericNew },
  { Py_tp_methods, calls_methods },
  { Py_tp_traverse, (void *)calls_traverse },
  { Py_tp_clear, (void *)calls_clear },
  { Py_tp_dealloc, (void *)calls_dealloc },
  { 0, NULL },
};

PyType_Spec calls_spec = {
  .name = "backworks.ffi._native.Calls",
  .basicsize = sizeof(struct calls),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = calls_slots,
};
