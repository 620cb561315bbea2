/* SPDX-License-Identifier: MIT */
#include "binding.h"

#include <string.h>

void
answer_prepare(struct answer *answer)
{
  memset(&answer->response, 0, sizeof answer->response);
  answer->response.struct_size = sizeof answer->response;
}

/* Records the first field that violates the ABI; the checks and their order are those of contract.check_sizes. */
static void
check(struct answer *answer, const char *field, const char *data, size_t size, size_t limit)
{
  if (answer->broken_field != NULL) {
    return;
  }
  if (size > 0 && data == NULL) {
    answer->broken_field = field;
    answer->broken_size = size;
    answer->broken_limit = 0;
  } else if (size > limit) {
    answer->broken_field = field;
    answer->broken_size = size;
    answer->broken_limit = limit;
  }
}

/* Copies one field to `to` and makes it point there. Returns the place of the next field. */
static char *
move(char *to, const char **field, size_t size)
{
  if (*field != NULL) {
    if (size > 0) {
      memcpy(to, *field, size);
    }
    *field = to;
    to += size;
  }
  return to;
}

void
answer_take(struct answer *answer, int32_t code, const struct state *state, const struct functions *functions)
{
  backworks_response *seen = &answer->seen;
  char *given;

  answer->code = code;
  answer->seen = answer->response;
  given = seen->data;
  answer->broken_field = NULL;
  check(answer, "data", seen->data, seen->size, state->max_answer);
  check(answer, "content_type", seen->content_type, seen->content_type_size, state->max_field);
  check(answer, "headers", seen->headers, seen->headers_size, state->max_field);
  if (answer->broken_field == NULL) {
    /* The sum cannot overflow, because each size has been checked. */
    if (seen->size + seen->content_type_size + seen->headers_size > sizeof answer->copy) {
      answer->freed = false;
      return;
    }
    const char *data = seen->data;
    char *end = move(answer->copy, &data, seen->size);
    end = move(end, &seen->content_type, seen->content_type_size);
    (void)move(end, &seen->headers, seen->headers_size);
    seen->data = given != NULL ? answer->copy : NULL;
  }
  if (given != NULL) {
    functions->free_string(given, seen->size);
  }
  answer->freed = true;
}

static PyObject *
bytes_or_none(const char *data, size_t size)
{
  if (data == NULL) {
    Py_RETURN_NONE;
  }
  return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

PyObject *
answer_violation(const struct answer *answer)
{
  if (answer->broken_limit == 0) {
    return PyUnicode_FromFormat("the answer's %s is NULL with a size of %zu", answer->broken_field,
                                answer->broken_size);
  }
  return PyUnicode_FromFormat("the answer's %s claims %zu bytes; at most %zu are taken", answer->broken_field,
                              answer->broken_size, answer->broken_limit);
}

PyObject *
reply_of(const struct state *state, PyObject *values[5])
{
  PyObject *fields = NULL, *arguments = NULL, *reply = NULL;
  bool complete = true;
  size_t i;

  for (i = 0; i < 5; i++) {
    complete = complete && values[i] != NULL;
  }
  if (complete) {
    fields = PyTuple_Pack(5, values[0], values[1], values[2], values[3], values[4]);
  } else {
    (void)PyErr_NoMemory();
  }
  for (i = 0; i < 5; i++) {
    Py_XDECREF(values[i]);
  }
  if (fields != NULL) {
    arguments = PyTuple_Pack(1, fields);
  }
  if (arguments != NULL) {
    /* A Reply is a named tuple. tuple.__new__ creates one without the Python function that Reply(...) runs. */
    reply = state->tuple_new((PyTypeObject *)state->reply_type, arguments, NULL);
  }
  Py_XDECREF(arguments);
  Py_XDECREF(fields);
  return reply;
}

PyObject *
answer_reply(struct answer *answer, const struct state *state, const struct functions *functions)
{
  const backworks_response *seen = &answer->seen;
  PyObject *values[5];

  if (answer->broken_field != NULL) {
    PyObject *text = answer_violation(answer);
    if (text != NULL) {
      PyErr_SetObject(state->violation, text);
      Py_DECREF(text);
    }
    return NULL;
  }

  values[0] = PyLong_FromLong(answer->code);
  values[1] = bytes_or_none(seen->data, seen->size);
  values[2] = PyLong_FromUnsignedLong(seen->http_status);
  values[3] = bytes_or_none(seen->content_type, seen->content_type_size);
  values[4] = bytes_or_none(seen->headers, seen->headers_size);
  if (!answer->freed && seen->data != NULL) {
    PyErr_Clear(); /* can only be a MemoryError, which is set again below */
    Py_BEGIN_ALLOW_THREADS
    functions->free_string(seen->data, seen->size);
    Py_END_ALLOW_THREADS
  }
  answer->freed = true;
  return reply_of(state, values);
}
