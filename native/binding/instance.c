/* SPDX-License-Identifier: MIT */
#include "binding.h"

static struct instance *
instance_of(PyObject *object)
{
  return (struct instance *)object;
}

/* Ends the registration of the log function. */
static int
forget_log(const struct state *state, PyObject *number)
{
  PyObject *result = PyObject_CallFunctionObjArgs(state->forget_log, number, NULL);

  Py_XDECREF(result);
  return result != NULL ? 0 : -1;
}

/* Creates an instance without its plugin. */
static struct instance *
instance_new(struct library *library, const struct state *state, PyObject *log)
{
  struct instance *instance = instance_of(PyType_GenericAlloc(state->instance_type, 0)); /* all zero */

  if (instance == NULL) {
    return NULL;
  }
  Py_INCREF((PyObject *)library);
  instance->library = library;
  instance->log_number = PyObject_CallFunctionObjArgs(state->register_log, log, NULL);
  if (instance->log_number != NULL) {
    instance->host = host_new(instance->log_number);
  }
  if (instance->host == NULL) {
    Py_DECREF((PyObject *)instance);
    return NULL;
  }
  return instance;
}

PyObject *
instance_init(struct library *library, const struct state *state, PyObject *config, PyObject *log)
{
  const struct functions *functions = &library->functions;
  struct answer answer;
  struct text text = NO_TEXT;
  struct instance *instance = NULL;
  backworks_plugin *plugin = NULL;
  PyObject *reply = NULL, *pair = NULL;

  if (text_take(&text, config, "config") < 0 || (instance = instance_new(library, state, log)) == NULL) {
    goto out;
  }
  answer_prepare(&answer);
  Py_BEGIN_ALLOW_THREADS
  int32_t code = functions->init(instance->host, text.data, text.size, &plugin, &answer.response);
  if (code != BACKWORKS_OK) {
    plugin = NULL; /* the value stored by a failed init is meaningless */
  }
  answer_take(&answer, code, state, functions);
  if (answer.broken_field != NULL && plugin != NULL) {
    (void)functions->shutdown(plugin); /* the instance is discarded: let its threads end */
    plugin = NULL;
  }
  Py_END_ALLOW_THREADS
  instance->plugin = plugin;

  if (plugin == NULL && forget_log(state, instance->log_number) < 0) {
    PyErr_WriteUnraisable(state->forget_log);
  }
  reply = answer_reply(&answer, state, functions);
  if (reply != NULL) {
    pair = PyTuple_Pack(2, reply, plugin != NULL ? (PyObject *)instance : Py_None);
  }
  if (pair == NULL && plugin != NULL) {
    PyErr_Clear(); /* can only be a MemoryError */
    instance->plugin = NULL;
    Py_BEGIN_ALLOW_THREADS
    (void)functions->shutdown(plugin);
    Py_END_ALLOW_THREADS
    (void)forget_log(state, instance->log_number);
    (void)PyErr_NoMemory();
  }

out:
  text_release(&text);
  Py_XDECREF(reply);
  Py_XDECREF((PyObject *)instance);
  return pair;
}

/* Returns the plugin, or NULL with an exception after shutdown. */
static backworks_plugin *
running(const struct instance *instance)
{
  if (instance->plugin == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the instance was shut down");
  }
  return instance->plugin;
}

static PyObject *
instance_process(PyObject *self, PyObject *const *arguments, Py_ssize_t positional, PyObject *keywords)
{
  enum { ENDPOINT, METHOD, DATA, TIME_LEFT, TRACEPARENT, TRACESTATE, COUNT };
  static const char *const names[COUNT] = { "endpoint", "method", "data", "time_left_ns", "traceparent", "tracestate" };
  static const struct signature signature = { "process", names, COUNT, COUNT, DATA + 1 };
  const struct state *state = PyType_GetModuleState(Py_TYPE(self));
  const struct functions *functions = &instance_of(self)->library->functions;
  backworks_plugin *plugin = running(instance_of(self));
  backworks_request request;
  struct answer answer;
  struct texts texts;
  PyObject *values[COUNT], *reply = NULL;
  uint64_t time_left = 0;

  if (plugin == NULL || sort_arguments(&signature, NULL, arguments, positional, keywords, values) < 0) {
    return NULL;
  }
  if (values[TIME_LEFT] != NULL) {
    time_left = PyLong_AsUnsignedLongLong(values[TIME_LEFT]);
    if (time_left == UINT64_MAX && PyErr_Occurred()) {
      return NULL;
    }
  }
  texts_none(&texts);
  if (text_take(&texts.endpoint, values[ENDPOINT], names[ENDPOINT]) < 0 ||
      text_take(&texts.method, values[METHOD], names[METHOD]) < 0 ||
      text_take(&texts.data, values[DATA], names[DATA]) < 0) {
    goto out;
  }
  if (values[TRACEPARENT] != NULL && values[TRACEPARENT] != Py_None &&
      text_take(&texts.traceparent, values[TRACEPARENT], names[TRACEPARENT]) < 0) {
    goto out;
  }
  if (values[TRACESTATE] != NULL && values[TRACESTATE] != Py_None &&
      text_take(&texts.tracestate, values[TRACESTATE], names[TRACESTATE]) < 0) {
    goto out;
  }

  request_make(&request, &texts, time_left);
  answer_prepare(&answer);
  Py_BEGIN_ALLOW_THREADS
  int32_t code = functions->process(plugin, &request, &answer.response);
  answer_take(&answer, code, state, functions);
  Py_END_ALLOW_THREADS
  reply = answer_reply(&answer, state, functions);

out:
  texts_release(&texts);
  return reply;
}

static PyObject *
instance_health_check(PyObject *self, PyObject *unused)
{
  const struct state *state = PyType_GetModuleState(Py_TYPE(self));
  const struct functions *functions = &instance_of(self)->library->functions;
  backworks_plugin *plugin = running(instance_of(self));
  struct answer answer;

  (void)unused;
  if (plugin == NULL) {
    return NULL;
  }
  if (functions->health_check == NULL) {
    return PyErr_Format(PyExc_LookupError, "the library has no backworks_plugin_health_check");
  }
  answer_prepare(&answer);
  Py_BEGIN_ALLOW_THREADS
  int32_t code = functions->health_check(plugin, &answer.response);
  answer_take(&answer, code, state, functions);
  Py_END_ALLOW_THREADS
  return answer_reply(&answer, state, functions);
}

static PyObject *
instance_reconfigure(PyObject *self, PyObject *config)
{
  const struct state *state = PyType_GetModuleState(Py_TYPE(self));
  const struct functions *functions = &instance_of(self)->library->functions;
  backworks_plugin *plugin = running(instance_of(self));
  struct answer answer;
  struct text text = NO_TEXT;
  PyObject *reply;

  if (plugin == NULL) {
    return NULL;
  }
  if (functions->reconfigure == NULL) {
    return PyErr_Format(PyExc_LookupError, "the library has no backworks_plugin_reconfigure");
  }
  if (text_take(&text, config, "config") < 0) {
    return NULL;
  }
  answer_prepare(&answer);
  Py_BEGIN_ALLOW_THREADS
  int32_t code = functions->reconfigure(plugin, text.data, text.size, &answer.response);
  answer_take(&answer, code, state, functions);
  Py_END_ALLOW_THREADS
  reply = answer_reply(&answer, state, functions);
  text_release(&text);
  return reply;
}

static PyObject *
instance_shutdown(PyObject *self, PyObject *unused)
{
  const struct state *state = PyType_GetModuleState(Py_TYPE(self));
  struct instance *instance = instance_of(self);
  backworks_plugin *plugin = running(instance);
  int32_t code;

  (void)unused;
  if (plugin == NULL) {
    return NULL;
  }
  instance->plugin = NULL;
  Py_BEGIN_ALLOW_THREADS
  code = instance->library->functions.shutdown(plugin);
  Py_END_ALLOW_THREADS
  if (forget_log(state, instance->log_number) < 0) {
    return NULL;
  }
  return PyLong_FromLong(code);
}

static int
instance_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)instance_of(self)->library);
  Py_VISIT(instance_of(self)->log_number);
  return 0;
}

/* Never calls the plugin, because the collector runs at any time and on any thread. Without a call of shutdown(), the
 * plugin's memory and the host structure leak, but nothing crashes. */
static void
instance_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);
  struct instance *instance = instance_of(self);

  PyObject_GC_UnTrack(self);
  if (instance->plugin == NULL) {
    host_free(instance->host);
  }
  Py_XDECREF(instance->log_number);
  Py_XDECREF((PyObject *)instance->library);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyObject *
instance_pool(PyObject *self, PyObject *arguments)
{
  return pool_new(instance_of(self), PyType_GetModuleState(Py_TYPE(self)), arguments);
}

static PyMethodDef instance_methods[] = {
  { "process", (PyCFunction)(void (*)(void))instance_process, METH_FASTCALL | METH_KEYWORDS,
    "process($self, endpoint, method, data, time_left_ns=0, traceparent=None, tracestate=None)\n--\n\n"
    "Calls backworks_plugin_process_endpoint_data." },
  { "health_check", instance_health_check, METH_NOARGS,
    "health_check($self)\n--\n\nCalls backworks_plugin_health_check." },
  { "reconfigure", instance_reconfigure, METH_O,
    "reconfigure($self, config, /)\n--\n\nCalls backworks_plugin_reconfigure." },
  { "pool", instance_pool, METH_VARARGS,
    "pool($self, workers, problem, /)\n--\n\nCreates a Pool; problem(kind, timeout) creates the exception of a call "
    "that has no Reply." },
  { "shutdown", instance_shutdown, METH_NOARGS, "shutdown($self)\n--\n\nCalls backworks_plugin_shutdown." },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot instance_slots[] = {
  { Py_tp_doc, "One initialised plugin." },
  { Py_tp_methods, instance_methods },
  { Py_tp_traverse, (void *)instance_traverse },
  { Py_tp_dealloc, (void *)instance_dealloc },
  { 0, NULL },
};

PyType_Spec instance_spec = {
  .name = "backworks.ffi._native.Instance",
  .basicsize = sizeof(struct instance),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = instance_slots,
};
