/* SPDX-License-Identifier: MIT */
#include "binding.h"

int
text_take(struct text *text, PyObject *value, const char *what)
{
  Py_ssize_t size;

  text->buffer.obj = NULL;
  if (PyBytes_Check(value)) {
    char *data;
    if (PyBytes_AsStringAndSize(value, &data, &size) < 0) {
      return -1;
    }
    text->data = data;
  } else if (PyUnicode_Check(value)) {
    text->data = PyUnicode_AsUTF8AndSize(value, &size);
    if (text->data == NULL) {
      return -1;
    }
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

void
text_release(struct text *text)
{
  if (text->buffer.obj != NULL) {
    PyBuffer_Release(&text->buffer);
  }
}
