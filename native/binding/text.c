/* SPDX-License-Identifier: MIT */
#include "binding.h"

/* As in timeouts.py. */
#define MAX_TIMEOUT 4000000

int
text_take(struct text *text, PyObject *value, const char *what)
{
  const bool is_bytes = Py_IS_TYPE(value, &PyBytes_Type); /* unlike PyBytes_Check, not a function call */
  Py_ssize_t size;

  text->buffer.obj = NULL;
  if (Py_IS_TYPE(value, &PyUnicode_Type) || (!is_bytes && PyUnicode_Check(value))) {
    text->data = PyUnicode_AsUTF8AndSize(value, &size);
    if (text->data == NULL) {
      return -1;
    }
  } else if (is_bytes || PyBytes_Check(value)) {
    char *data;
    if (PyBytes_AsStringAndSize(value, &data, &size) < 0) {
      return -1;
    }
    text->data = data;
  } else if (PyObject_CheckBuffer(value)) {
    if (PyObject_GetBuffer(value, &text->buffer, PyBUF_SIMPLE) < 0) {
      return -1;
    }
    text->data = text->buffer.buf != NULL ? text->buffer.buf : "";
    size = text->buffer.len;
  } else {
    PyErr_Format(PyExc_TypeError, "%s must be str, bytes or an object with a buffer, not %R", what,
                 (PyObject *)Py_TYPE(value));
    return -1;
  }
  text->size = (size_t)size;
  return 0;
}

int
take_timeout(PyObject *value, uint64_t *nanoseconds)
{
  double seconds = PyFloat_AsDouble(value);

  if (seconds == -1.0 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) { /* from a large int; -1 is invalid as well */
      return -1;
    }
    PyErr_Clear();
  }
  if (!(seconds >= 0.0 && seconds <= MAX_TIMEOUT)) { /* also true for NaN */
    PyErr_Format(PyExc_ValueError, "timeout must be 0 to %d seconds, or None for no limit, not %R", MAX_TIMEOUT, value);
    return -1;
  }
  *nanoseconds = (uint64_t)(seconds * 1e9);
  return 0;
}

void
text_release(struct text *text)
{
  if (text->buffer.obj != NULL) {
    PyBuffer_Release(&text->buffer);
  }
}

/* Returns the index of a keyword. Keywords in Python source code are interned, so comparing pointers usually finds
 * them. */
static Py_ssize_t
place_of(const struct signature *signature, PyObject *const *interned, PyObject *keyword)
{
  Py_ssize_t i;

  if (interned != NULL) {
    for (i = signature->count - 1; i >= 0; i--) { /* backwards, because as_bytes, the most frequent, is last */
      if (keyword == interned[i]) {
        return i;
      }
    }
  }
  for (i = 0; i < signature->count; i++) {
    if (PyUnicode_CompareWithASCIIString(keyword, signature->names[i]) == 0) {
      return i;
    }
  }
  PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", signature->name, keyword);
  return -1;
}

int
sort_arguments(const struct signature *signature, PyObject *const *interned, PyObject *const *given,
               Py_ssize_t positional, PyObject *keywords, PyObject **values)
{
  Py_ssize_t i, k, named = keywords != NULL ? PyTuple_Size(keywords) : 0;

  if (positional > signature->by_place) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments (%zd given)", signature->name,
                 signature->by_place, positional);
    return -1;
  }
  for (i = 0; i < signature->count; i++) {
    values[i] = i < positional ? given[i] : NULL;
  }
  for (k = 0; k < named; k++) {
    i = place_of(signature, interned, PyTuple_GetItem(keywords, k));
    if (i < 0) {
      return -1;
    }
    if (values[i] != NULL) {
      PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", signature->name, signature->names[i]);
      return -1;
    }
    values[i] = given[positional + k];
  }
  for (i = 0; i < signature->required; i++) {
    if (values[i] == NULL) {
      PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", signature->name, signature->names[i]);
      return -1;
    }
  }
  return 0;
}
