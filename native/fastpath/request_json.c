/* SPDX-License-Identifier: MIT */
#include "../binding/binding.h" /* first, because it includes Python.h */

#include <stdlib.h>
#include <string.h>

/* The maximum number of header fields, because each is compared with all before it; Python handles requests with more.
 * */
#define MAX_FIELDS 64

struct piece {
  const char *data;
  size_t size;
};

struct field {
  struct piece name;
  struct piece value;
};

struct output {
  char *data;
  size_t size;
  size_t capacity;
  char small[2048];
};

static int
reserve(struct output *output, size_t more)
{
  size_t capacity = output->capacity;
  char *data;

  if (more <= capacity - output->size) {
    return 0;
  }
  do {
    if (capacity > PY_SSIZE_T_MAX / 2) {
      PyErr_NoMemory();
      return -1;
    }
    capacity *= 2;
  } while (more > capacity - output->size);
  data = output->data == output->small ? malloc(capacity) : realloc(output->data, capacity);
  if (data == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  if (output->data == output->small) {
    memcpy(data, output->small, output->size);
  }
  output->data = data;
  output->capacity = capacity;
  return 0;
}

static int
put(struct output *output, const char *data, size_t size)
{
  if (reserve(output, size) < 0) {
    return -1;
  }
  memcpy(output->data + output->size, data, size);
  output->size += size;
  return 0;
}

#define PUT(output, literal) put((output), (literal), sizeof(literal) - 1)

/* The escape of each byte: 0 for none, the letter after a backslash, or 'u' for a code point. */
static char
escape_of(unsigned char byte)
{
  switch (byte) {
  case '"':
  case '\\':
    return (char)byte;
  case '\b':
    return 'b';
  case '\t':
    return 't';
  case '\n':
    return 'n';
  case '\f':
    return 'f';
  case '\r':
    return 'r';
  default:
    return byte < 0x20 ? 'u' : 0;
  }
}

/* Writes the content of a JSON string from Latin-1 or valid UTF-8. */
static int
put_piece(struct output *output, struct piece piece, int latin1)
{
  static const char digits[] = "0123456789abcdef";
  size_t i;
  char *at;

  if (piece.size > PY_SSIZE_T_MAX / 8) {
    PyErr_NoMemory();
    return -1;
  }
  if (reserve(output, 6 * piece.size) < 0) {
    return -1;
  }
  at = output->data + output->size;
  for (i = 0; i < piece.size; i++) {
    unsigned char byte = (unsigned char)piece.data[i];
    char escape;

    if (byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\') {
      *at++ = (char)byte;
    } else if (byte >= 0x80 && latin1) {
      *at++ = (char)(0xc0 | byte >> 6);
      *at++ = (char)(0x80 | (byte & 0x3f));
    } else if ((escape = escape_of(byte)) == 0) {
      *at++ = (char)byte;
    } else if (escape != 'u') {
      *at++ = '\\';
      *at++ = escape;
    } else {
      memcpy(at, "\\u00", 4);
      at[4] = digits[byte >> 4];
      at[5] = digits[byte & 15];
      at += 6;
    }
  }
  output->size = (size_t)(at - output->data);
  return 0;
}

/* Writes a JSON string. */
static int
put_unicode(struct output *output, PyObject *string)
{
  struct piece piece;
  Py_ssize_t size;

  piece.data = PyUnicode_AsUTF8AndSize(string, &size);
  if (piece.data == NULL) {
    return -1;
  }
  piece.size = (size_t)size;
  if (PUT(output, "\"") < 0 || put_piece(output, piece, 0) < 0) {
    return -1;
  }
  return PUT(output, "\"");
}

static int
put_params(struct output *output, PyObject *params)
{
  PyObject *name, *value;
  Py_ssize_t at = 0;
  int first = 1;

  while (PyDict_Next(params, &at, &name, &value)) {
    if (!first && PUT(output, ",") < 0) {
      return -1;
    }
    first = 0;
    if (put_unicode(output, name) < 0 || PUT(output, ":") < 0 || put_unicode(output, value) < 0) {
      return -1;
    }
  }
  return 0;
}

static struct piece
piece_of(PyObject *bytes)
{
  struct piece piece = { NULL, 0 };
  char *data;
  Py_ssize_t size;

  if (PyBytes_AsStringAndSize(bytes, &data, &size) == 0) {
    piece.data = data;
    piece.size = (size_t)size;
  }
  return piece;
}

static int
same(struct piece a, struct piece b)
{
  return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* Reads the header fields; returns their number, or -1 if there are too many or they have an unusual form. */
static Py_ssize_t
take_fields(PyObject *list, struct field *fields)
{
  Py_ssize_t count, i;

  if (!PyList_Check(list) || (count = PyList_Size(list)) > MAX_FIELDS) {
    return -1;
  }
  for (i = 0; i < count; i++) {
    PyObject *pair = PyList_GetItem(list, i);
    PyObject *name, *value;

    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
      return -1;
    }
    name = PyTuple_GetItem(pair, 0);
    value = PyTuple_GetItem(pair, 1);
    if (!PyBytes_Check(name) || !PyBytes_Check(value)) {
      return -1;
    }
    fields[i].name = piece_of(name);
    fields[i].value = piece_of(value);
  }
  return count;
}

static int
put_fields(struct output *output, const struct field *fields, Py_ssize_t count)
{
  Py_ssize_t i, other;

  for (i = 0; i < count; i++) {
    static const struct piece cookie = { "cookie", 6 };
    const char *separator;

    for (other = 0; other < i && !same(fields[i].name, fields[other].name); other++) {
    }
    if (other < i) {
      continue; /* already joined to that field */
    }
    if ((i > 0 && PUT(output, ",") < 0) || PUT(output, "\"") < 0 || put_piece(output, fields[i].name, 1) < 0 ||
        PUT(output, "\":\"") < 0 || put_piece(output, fields[i].value, 1) < 0) {
      return -1;
    }
    separator = same(fields[i].name, cookie) ? "; " : ", ";
    for (other = i + 1; other < count; other++) {
      if (same(fields[i].name, fields[other].name) &&
          (put(output, separator, 2) < 0 || put_piece(output, fields[other].value, 1) < 0)) {
        return -1;
      }
    }
    if (PUT(output, "\"") < 0) {
      return -1;
    }
  }
  return 0;
}

/* write_request(method, path, path_params, query, fields, body): see backworks/http/writer.py. */
PyObject *
request_json(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
  struct field fields[MAX_FIELDS];
  struct output output;
  PyObject *result = NULL;
  struct piece query, body;
  Py_ssize_t field_count;

  (void)module;
  if (count != 6 || !PyUnicode_Check(args[0]) || !PyUnicode_Check(args[1]) || !PyDict_Check(args[2]) ||
      !PyBytes_Check(args[3]) || !PyBytes_Check(args[5])) {
    PyErr_SetString(PyExc_TypeError, "write_request() takes (str, str, dict, bytes, list, bytes)");
    return NULL;
  }
  field_count = take_fields(args[4], fields);
  if (field_count < 0) {
    Py_RETURN_NONE;
  }
  query = piece_of(args[3]);
  body = piece_of(args[5]);
  output.data = output.small;
  output.size = 0;
  output.capacity = sizeof output.small;
  if (PUT(&output, "{\"method\":") == 0 && put_unicode(&output, args[0]) == 0 &&
      PUT(&output, ",\"path\":") == 0 && put_unicode(&output, args[1]) == 0 &&
      PUT(&output, ",\"path_params\":{") == 0 && put_params(&output, args[2]) == 0 &&
      PUT(&output, "},\"query\":") == 0 && put(&output, query.data, query.size) == 0 &&
      PUT(&output, ",\"headers\":{") == 0 && put_fields(&output, fields, field_count) == 0 &&
      PUT(&output, "},\"body\":") == 0 && put(&output, body.data, body.size) == 0 && PUT(&output, "}") == 0) {
    result = PyBytes_FromStringAndSize(output.data, (Py_ssize_t)output.size);
  }
  if (output.data != output.small) {
    free(output.data);
  }
  return result;
}
