/* SPDX-License-Identifier: MIT */
#include "binding.h"

#include <stddef.h>
#include <string.h>

#define PREFIX "backworks_plugin_"

/* The functions by name, as in contract.REQUIRED_SYMBOLS and OPTIONAL_SYMBOLS. */
static const struct symbol {
  const char *name;
  size_t offset; /* in struct functions */
} symbols[] = {
  { PREFIX "abi_version", offsetof(struct functions, abi_version) },
  { PREFIX "name", offsetof(struct functions, name) },
  { PREFIX "version", offsetof(struct functions, version) },
  { PREFIX "init", offsetof(struct functions, init) },
  { PREFIX "process_endpoint_data", offsetof(struct functions, process) },
  { PREFIX "free_string", offsetof(struct functions, free_string) },
  { PREFIX "shutdown", offsetof(struct functions, shutdown) },
  { PREFIX "description", offsetof(struct functions, description) },
  { PREFIX "health_check", offsetof(struct functions, health_check) },
  { PREFIX "reconfigure", offsetof(struct functions, reconfigure) },
};
#define SYMBOLS (sizeof symbols / sizeof symbols[0])

/* Compares the types in struct functions with the declarations of the header. Never called; sizeof evaluates nothing,
 * so the linker does not need the names. */
#define SAME_TYPE(member, declared) \
  _Static_assert(sizeof(((struct functions *)0)->member == &(declared)) > 0, "the type must match the header's declaration")
SAME_TYPE(abi_version, backworks_plugin_abi_version);
SAME_TYPE(name, backworks_plugin_name);
SAME_TYPE(version, backworks_plugin_version);
SAME_TYPE(init, backworks_plugin_init);
SAME_TYPE(process, backworks_plugin_process_endpoint_data);
SAME_TYPE(free_string, backworks_plugin_free_string);
SAME_TYPE(shutdown, backworks_plugin_shutdown);
SAME_TYPE(description, backworks_plugin_description);
SAME_TYPE(health_check, backworks_plugin_health_check);
SAME_TYPE(reconfigure, backworks_plugin_reconfigure);

static struct library *
library_of(PyObject *object)
{
  return (struct library *)object;
}

/* All members of struct functions are function pointers, which have the same size and representation. */
static dynlib_function
get_function(const struct functions *functions, const struct symbol *symbol)
{
  dynlib_function function;

  memcpy(&function, (const char *)functions + symbol->offset, sizeof function);
  return function;
}

static void
set_function(struct functions *functions, const struct symbol *symbol, dynlib_function function)
{
  memcpy((char *)functions + symbol->offset, &function, sizeof function);
}

PyObject *
library_open(PyObject *module, PyObject *path)
{
  const struct state *state = PyModule_GetState(module);
  struct library *library;
  void *handle;
  size_t i;

  if (!PyUnicode_Check(path)) {
    PyErr_Format(PyExc_TypeError, "the path of a library must be str, not %R", (PyObject *)Py_TYPE(path));
    return NULL;
  }
  library = library_of(PyType_GenericAlloc(state->library_type, 0)); /* all zero */
  if (library == NULL) {
    return NULL;
  }
  Py_INCREF(path);
  library->path = path;
  handle = dynlib_open(path);
  if (handle == NULL) {
    Py_DECREF((PyObject *)library);
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  for (i = 0; i < SYMBOLS; i++) {
    set_function(&library->functions, &symbols[i], dynlib_symbol(handle, symbols[i].name));
  }
  Py_END_ALLOW_THREADS
  return (PyObject *)library;
}

static PyObject *
library_symbols(PyObject *self, PyObject *unused)
{
  const struct functions *functions = &library_of(self)->functions;
  PyObject *names = PyList_New(0), *set = NULL;
  size_t i;

  (void)unused;
  if (names == NULL) {
    return NULL;
  }
  for (i = 0; i < SYMBOLS; i++) {
    if (get_function(functions, &symbols[i]) != NULL) {
      PyObject *name = PyUnicode_FromString(symbols[i].name);
      if (name == NULL || PyList_Append(names, name) < 0) {
        Py_XDECREF(name);
        goto out;
      }
      Py_DECREF(name);
    }
  }
  set = PyFrozenSet_New(names);
out:
  Py_DECREF(names);
  return set;
}

static PyObject *
missing(const char *name)
{
  return PyErr_Format(PyExc_LookupError, "the library has no " PREFIX "%s", name);
}

static PyObject *
library_abi_version(PyObject *self, PyObject *unused)
{
  const struct functions *functions = &library_of(self)->functions;
  uint32_t version;

  (void)unused;
  if (functions->abi_version == NULL) {
    return missing("abi_version");
  }
  Py_BEGIN_ALLOW_THREADS
  version = functions->abi_version();
  Py_END_ALLOW_THREADS
  return PyLong_FromUnsignedLong(version);
}

/* Returns the static string that `function` returns, as bytes, or None. */
static PyObject *
static_text(const char *(*function)(void), const char *name)
{
  const char *text;

  if (function == NULL) {
    return missing(name);
  }
  Py_BEGIN_ALLOW_THREADS
  text = function();
  Py_END_ALLOW_THREADS
  if (text == NULL) {
    Py_RETURN_NONE;
  }
  return PyBytes_FromString(text);
}

static PyObject *
library_name(PyObject *self, PyObject *unused)
{
  (void)unused;
  return static_text(library_of(self)->functions.name, "name");
}

static PyObject *
library_version(PyObject *self, PyObject *unused)
{
  (void)unused;
  return static_text(library_of(self)->functions.version, "version");
}

static PyObject *
library_description(PyObject *self, PyObject *unused)
{
  (void)unused;
  return static_text(library_of(self)->functions.description, "description");
}

static PyObject *
library_init(PyObject *self, PyObject *arguments)
{
  const struct functions *functions = &library_of(self)->functions;
  const struct state *state = PyType_GetModuleState(Py_TYPE(self));
  PyObject *config, *log;

  if (!PyArg_ParseTuple(arguments, "OO:init", &config, &log)) {
    return NULL;
  }
  if (functions->init == NULL) {
    return missing("init");
  }
  if (functions->process == NULL) {
    return missing("process_endpoint_data");
  }
  if (functions->free_string == NULL) {
    return missing("free_string");
  }
  if (functions->shutdown == NULL) {
    return missing("shutdown");
  }
  return instance_init(library_of(self), state, config, log);
}

static PyObject *
library_get_path(PyObject *self, void *unused)
{
  PyObject *path = library_of(self)->path;

  (void)unused;
  Py_INCREF(path);
  return path;
}

static int
library_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(library_of(self)->path);
  return 0;
}

/* Not unmapped: see docs/why.md. */
static void
library_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  Py_XDECREF(library_of(self)->path);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef library_methods[] = {
  { "symbols", library_symbols, METH_NOARGS, "symbols($self)\n--\n\nReturns which functions of the ABI it has." },
  { "abi_version", library_abi_version, METH_NOARGS, "abi_version($self)\n--\n\nCalls backworks_plugin_abi_version." },
  { "name", library_name, METH_NOARGS, "name($self)\n--\n\nCalls backworks_plugin_name." },
  { "version", library_version, METH_NOARGS, "version($self)\n--\n\nCalls backworks_plugin_version." },
  { "description", library_description, METH_NOARGS, "description($self)\n--\n\nCalls backworks_plugin_description." },
  { "init", library_init, METH_VARARGS, "init($self, config, log, /)\n--\n\nCalls backworks_plugin_init." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef library_members[] = {
  { "path", library_get_path, NULL, "The path with which it was opened.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot library_slots[] = {
  { Py_tp_doc, "An opened library." },
  { Py_tp_methods, library_methods },
  { Py_tp_getset, library_members },
  { Py_tp_traverse, (void *)library_traverse },
  { Py_tp_dealloc, (void *)library_dealloc },
  { 0, NULL },
};

PyType_Spec library_spec = {
  .name = "backworks.ffi._native.Library",
  .basicsize = sizeof(struct library),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = library_slots,
};
