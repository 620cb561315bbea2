/* SPDX-License-Identifier: MIT */
#include "binding.h"
#include "../fastpath/admission.h"
#include "../fastpath/mailbox_type.h"
#include "../fastpath/slots.h"

static struct state *
state_of(PyObject *module)
{
  return PyModule_GetState(module);
}

/* Reads a size from an attribute of a Python module. */
static int
get_size(PyObject *module, const char *name, size_t *size)
{
  PyObject *number = PyObject_GetAttrString(module, name);

  if (number == NULL) {
    return -1;
  }
  *size = PyLong_AsSize_t(number);
  Py_DECREF(number);
  return *size == (size_t)-1 && PyErr_Occurred() ? -1 : 0;
}

static int
take_contract(struct state *state)
{
  PyObject *contract = PyImport_ImportModule("backworks.ffi.contract");
  int result = -1;

  if (contract == NULL) {
    return -1;
  }
  state->reply_type = PyObject_GetAttrString(contract, "Reply");
  state->violation = PyObject_GetAttrString(contract, "ContractViolation");
  if (state->reply_type == NULL || state->violation == NULL ||
      get_size(contract, "MAX_ANSWER", &state->max_answer) < 0 ||
      get_size(contract, "MAX_FIELD", &state->max_field) < 0) {
    goto out;
  }
  if (!PyType_Check(state->reply_type) ||
      !PyType_IsSubtype((PyTypeObject *)state->reply_type, &PyTuple_Type)) {
    PyErr_SetString(PyExc_ImportError, "backworks.ffi.contract.Reply is not a tuple type");
    goto out;
  }
  state->tuple_new = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
  result = 0;
out:
  Py_DECREF(contract);
  return result;
}

static int
take_logs(struct state *state)
{
  PyObject *logs = PyImport_ImportModule("backworks.ffi.logs");
  PyObject *deliver = NULL;
  size_t max_text;
  int result = -1;

  if (logs == NULL) {
    return -1;
  }
  deliver = PyObject_GetAttrString(logs, "deliver");
  state->register_log = PyObject_GetAttrString(logs, "register");
  state->forget_log = PyObject_GetAttrString(logs, "forget");
  if (deliver != NULL && state->register_log != NULL && state->forget_log != NULL &&
      get_size(logs, "MAX_TEXT", &max_text) == 0) {
    result = host_setup(deliver, max_text);
  }
  Py_XDECREF(deliver);
  Py_DECREF(logs);
  return result;
}

int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
  *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
  return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int
module_exec(PyObject *module)
{
  struct state *state = state_of(module);

  /* host_log enters Python through PyGILState_Ensure, which only supports the main interpreter. */
  if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
    PyErr_SetString(PyExc_ImportError, "backworks.ffi._native only works in the main interpreter");
    return -1;
  }
  if (take_contract(state) < 0 || take_logs(state) < 0 || calls_setup(state) < 0) {
    return -1;
  }
  if (add_type(module, &library_spec, &state->library_type) < 0 ||
      add_type(module, &instance_spec, &state->instance_type) < 0 ||
      add_type(module, &gate_spec, &state->gate_type) < 0 || add_type(module, &turn_spec, &state->turn_type) < 0 ||
      add_type(module, &calls_spec, &state->calls_type) < 0 || pool_types(module, state) < 0) {
    return -1;
  }
#if !defined(Py_GIL_DISABLED)
  if (add_type(module, &slot_spec, &state->slot_type) < 0 ||
      add_type(module, &free_slots_spec, &state->free_slots_type) < 0) {
    return -1;
  }
#endif
#if HAVE_MAILBOX
  if (add_type(module, &mailbox_spec, &state->mailbox_type) < 0) {
    return -1;
  }
#endif
  return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
  struct state *state = state_of(module);

  Py_VISIT((PyObject *)state->library_type);
  Py_VISIT((PyObject *)state->instance_type);
  Py_VISIT((PyObject *)state->gate_type);
  Py_VISIT((PyObject *)state->turn_type);
  Py_VISIT((PyObject *)state->calls_type);
  Py_VISIT((PyObject *)state->slot_type);
  Py_VISIT((PyObject *)state->free_slots_type);
  Py_VISIT((PyObject *)state->pool_type);
  Py_VISIT((PyObject *)state->call_type);
  Py_VISIT((PyObject *)state->waker_type);
  Py_VISIT((PyObject *)state->mailbox_type);
  Py_VISIT(state->reply_type);
  Py_VISIT(state->violation);
  Py_VISIT(state->register_log);
  Py_VISIT(state->forget_log);
  return 0;
}

/* Runs when nothing refers to the module any more; its types do, and their objects refer to them. */
static void
module_free(void *module)
{
  struct state *state = state_of(module);
  size_t i;

  Py_CLEAR(state->library_type);
  Py_CLEAR(state->instance_type);
  Py_CLEAR(state->gate_type);
  Py_CLEAR(state->turn_type);
  Py_CLEAR(state->calls_type);
  Py_CLEAR(state->slot_type);
  Py_CLEAR(state->free_slots_type);
  Py_CLEAR(state->pool_type);
  Py_CLEAR(state->call_type);
  Py_CLEAR(state->waker_type);
  Py_CLEAR(state->mailbox_type);
  for (i = 0; i < CALL_ARGUMENTS; i++) {
    Py_CLEAR(state->argument_names[i]);
  }
  Py_CLEAR(state->reply_type);
  Py_CLEAR(state->violation);
  Py_CLEAR(state->register_log);
  Py_CLEAR(state->forget_log);
}

static PyMethodDef module_functions[] = {
  { "open", library_open, METH_O, "open($module, path, /)\n--\n\nOpens the library at an absolute path." },
  { "stop_logging", host_stop_logging, METH_NOARGS,
    "stop_logging($module)\n--\n\nDrops all later log records of plugins, before the interpreter ends." },
  { "write_request", (PyCFunction)(void (*)(void))request_json, METH_FASTCALL,
    "write_request($module, method, path, path_params, query, fields, body, /)\n--\n\n"
    "Like backworks.http.writer.write_in_python; returns None for header fields that need that function." },
#if HAVE_MAILBOX
  { "mailbox", mailbox_new, METH_NOARGS, "mailbox($module)\n--\n\nCreates a Mailbox; see backworks.isolation.channels.mailbox." },
#endif
  { NULL, NULL, 0, NULL },
};

static PyModuleDef_Slot module_slots[] = {
  { Py_mod_exec, (void *)module_exec },
#if defined(Py_mod_gil)
  { Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
  { 0, NULL },
};

static struct PyModuleDef native_module = {
  PyModuleDef_HEAD_INIT,
  .m_name = "backworks.ffi._native",
  .m_doc = "Calls plugins; see backworks.ffi.contract.",
  .m_size = sizeof(struct state),
  .m_methods = module_functions,
  .m_slots = module_slots,
  .m_traverse = module_traverse,
  .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC
PyInit__native(void)
{
  return PyModuleDef_Init(&native_module);
}
