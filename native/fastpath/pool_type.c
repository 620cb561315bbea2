/* SPDX-License-Identifier: MIT
 *
 * The Python types Pool, Call and Waker over threadpool.c.
 *
 * Until it is done, a call owns what its request borrows from: Python objects, and copies of what its caller could
 * change. A caller waits without the interpreter lock; the pool's threads never take it. */
#include "../binding/binding.h"
#include "threadpool.h"

#include <stdlib.h>
#include <string.h>

/* How long a waiting thread sleeps before it checks for signals, in nanoseconds: too short for people to notice. */
#define SLICE UINT64_C(50000000)

/* One call, owned by the owner of its job. */
struct call {
  struct job job; /* first, so that a job can be cast to its call */
  struct pool_object *pool;
  struct call_object *object; /* borrowed; NULL if no event loop waits */
  PyObject *kept[CALL_RAW];   /* objects that the request borrows from */
  backworks_request request;
  struct answer answer;
};

struct pool_object {
  PyObject_HEAD
  const struct state *state;
  struct pool *pool;
  struct instance *instance;
  PyObject *make_error; /* makes the exception for a call without a reply: (kind, timeout) -> exception */
};

/* The event loop's handle of a call. */
struct call_object {
  PyObject_HEAD
  struct pool_object *pool;
  struct call *call; /* NULL after take or drop */
  PyObject *waker, *future;
};

struct waker_object {
  PyObject_HEAD
  struct waker *waker;
};

/* Calls */

static const struct functions *
functions_of(const struct call *call)
{
  return &call->pool->instance->library->functions;
}

/* Has the plugin free a response that was not taken. The interpreter lock must not be held. */
static void
discard(struct job *job)
{
  struct call *call = (struct call *)job;

  if (!call->answer.freed) {
    call->answer.freed = true;
    functions_of(call)->free_string(call->answer.seen.data, call->answer.seen.size);
  }
}

static void
call_free(struct call *call)
{
  size_t i;

  if (!call->answer.freed) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* the plugin may log */
    Py_BEGIN_ALLOW_THREADS
    discard(&call->job);
    Py_END_ALLOW_THREADS
    PyErr_Restore(type, value, traceback);
  }
  for (i = 0; i < CALL_RAW; i++) {
    Py_XDECREF(call->kept[i]);
  }
  Py_DECREF((PyObject *)call->pool);
  condition_destroy(&call->job.done);
  free(call);
}

/* Frees abandoned calls that have ended. */
static void
free_orphans(void)
{
  struct job *job;

  while ((job = orphans_take()) != NULL) {
    call_free((struct call *)job);
  }
}

static void
run_process(struct job *job, uint64_t time_left)
{
  struct call *call = (struct call *)job;
  const struct functions *functions = functions_of(call);
  int32_t code;

  call->request.time_left_ns = time_left;
  code = functions->process(call->pool->instance->plugin, &call->request, &call->answer.response);
  answer_take(&call->answer, code, call->pool->state, functions);
}

static void
run_health_check(struct job *job, uint64_t time_left)
{
  struct call *call = (struct call *)job;
  const struct functions *functions = functions_of(call);

  (void)time_left;
  answer_take(&call->answer, functions->health_check(call->pool->instance->plugin, &call->answer.response),
              call->pool->state, functions);
}

/* Raises make_error(kind, timeout). */
static PyObject *
raise_error(struct pool_object *pool, const char *kind, PyObject *timeout)
{
  PyObject *error = PyObject_CallFunction(pool->make_error, "sO", kind, timeout);

  if (error != NULL) {
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
  }
  return NULL;
}

/* Makes a call without a request. `timeout` is a number of seconds or None. */
static struct call *
call_new(struct pool_object *pool, PyObject *timeout, void (*run)(struct job *, uint64_t))
{
  struct call *call;
  uint64_t nanoseconds = 0;

  free_orphans();
  if (timeout != Py_None && take_timeout(timeout, &nanoseconds) < 0) {
    return NULL;
  }
  if (pool->instance->plugin == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the instance was shut down");
    return NULL;
  }
  call = malloc(sizeof *call);
  if (call == NULL) {
    (void)PyErr_NoMemory();
    return NULL;
  }
  memset(call, 0, offsetof(struct call, answer));
  condition_init(&call->job.done);
  call->job.run = run;
  call->job.discard = discard;
  call->job.deadline = timeout != Py_None ? clock_now() + nanoseconds : 0;
  Py_INCREF((PyObject *)pool);
  call->pool = pool;
  answer_prepare(&call->answer);
  call->answer.freed = true; /* there is no response yet */
  return call;
}

/* Borrows the bytes of an argument until the call is freed, or copies them if they could change. An HTTP field is
 * Latin-1, and may be None. */
static int
keep(struct call *call, PyObject *const *values, enum call_argument which, const char **data, size_t *size)
{
  static const char *const names[] = { "endpoint", "method", "data", "timeout", "traceparent", "tracestate" };
  const bool is_field = which > CALL_TIMEOUT;
  PyObject *value = values[which];
  struct text text;

  if (is_field && value == Py_None) {
    return 0;
  }
  if (is_field && PyUnicode_Check(value)) {
    value = PyUnicode_AsLatin1String(value);
  } else if (!PyUnicode_Check(value) && !PyBytes_Check(value) && PyObject_CheckBuffer(value)) {
    value = PyBytes_FromObject(value);
  } else {
    Py_INCREF(value);
  }
  call->kept[which] = value;
  if (value == NULL || text_take(&text, value, names[which]) < 0) {
    return -1;
  }
  *data = text.data; /* in a str or bytes object, which cannot change */
  *size = text.size;
  return 0;
}

/* Makes a call from the arguments endpoint, method, data, timeout, traceparent and tracestate. */
static struct call *
call_of_request(struct pool_object *pool, PyObject *const *values, Py_ssize_t count)
{
  struct call *call;
  backworks_request *request;

  if (count != CALL_RAW) {
    PyErr_Format(PyExc_TypeError, "a call takes %d arguments (%zd given)", CALL_RAW, count);
    return NULL;
  }
  call = call_new(pool, values[CALL_TIMEOUT], run_process);
  if (call == NULL) {
    return NULL;
  }
  request = &call->request;
  request->struct_size = sizeof *request;
  if (keep(call, values, CALL_ENDPOINT, &request->endpoint, &request->endpoint_size) < 0 ||
      keep(call, values, CALL_METHOD, &request->method, &request->method_size) < 0 ||
      keep(call, values, CALL_DATA, &request->data, &request->data_size) < 0 ||
      keep(call, values, CALL_TRACEPARENT, &request->traceparent, &request->traceparent_size) < 0 ||
      keep(call, values, CALL_TRACESTATE, &request->tracestate, &request->tracestate_size) < 0) {
    call_free(call);
    return NULL;
  }
  return call;
}

/* Submits a call and polls for its end. Returns 1 if it is done and 0 if not. If the pool rejects the call, frees it
 * and returns -1 with an exception. */
static int
call_start(struct pool_object *pool, struct call *call)
{
  static const char *const names[] = { "", "quarantined", "nested", "no thread", "inherited" };
  enum submitted submitted;
  bool is_done = false;

  Py_BEGIN_ALLOW_THREADS
  submitted = pool_submit(pool->pool, &call->job);
  if (submitted == SUBMITTED) {
    is_done = job_poll(&call->job);
  }
  Py_END_ALLOW_THREADS
  if (submitted != SUBMITTED) {
    call_free(call);
    (void)raise_error(pool, names[submitted], Py_None);
    return -1;
  }
  return is_done;
}

/* Makes the Reply of a finished call, and frees the call. */
static PyObject *
call_reply(struct pool_object *pool, struct call *call, PyObject *timeout)
{
  PyObject *reply = NULL;

  if (call->job.late) {
    (void)raise_error(pool, "queued", timeout);
  } else {
    reply = answer_reply(&call->answer, pool->state, functions_of(call));
  }
  call_free(call);
  return reply;
}

/* Returns the Reply of a call that is done; otherwise abandons it and raises the timeout. */
static PyObject *
call_take(struct pool_object *pool, struct call *call, PyObject *timeout)
{
  switch (job_reclaim(&call->job, true)) {
  case DONE:
    return call_reply(pool, call, timeout);
  case QUEUED:
    call_free(call);
    return raise_error(pool, "queued", timeout);
  default:
    return raise_error(pool, "overran", timeout);
  }
}

/* Abandons a call: it does not start, or its response is dropped. */
static void
call_abandon(struct call *call)
{
  if (job_reclaim(&call->job, false) != RUNNING) {
    call_free(call);
  }
}

/* Runs a call and waits for it. */
static PyObject *
call_run(struct pool_object *pool, struct call *call, PyObject *timeout)
{
  uint64_t until = call->job.deadline, left = SLICE;
  int is_done = call_start(pool, call);

  while (is_done == 0) {
    if (until != 0) {
      uint64_t now = clock_now();
      if (now >= until) {
        break;
      }
      left = until - now < SLICE ? until - now : SLICE;
    }
    Py_BEGIN_ALLOW_THREADS
    is_done = job_sleep(&call->job, left);
    Py_END_ALLOW_THREADS
    if (!is_done && PyErr_CheckSignals() < 0) {
      call_abandon(call);
      return NULL;
    }
  }
  return is_done < 0 ? NULL : call_take(pool, call, timeout);
}

/* The type Pool */

static struct pool_object *
pool_of(PyObject *object)
{
  return (struct pool_object *)object;
}

static PyObject *
pool_call(PyObject *self, PyObject *const *values, Py_ssize_t count)
{
  struct call *call = call_of_request(pool_of(self), values, count);

  return call != NULL ? call_run(pool_of(self), call, values[CALL_TIMEOUT]) : NULL;
}

static PyObject *
pool_begin(PyObject *self, PyObject *const *values, Py_ssize_t count)
{
  struct pool_object *pool = pool_of(self);
  struct call *call = call_of_request(pool, values, count);
  struct call_object *object;
  int is_done;

  if (call == NULL || (is_done = call_start(pool, call)) < 0) {
    return NULL;
  }
  if (is_done) {
    return call_take(pool, call, values[CALL_TIMEOUT]);
  }
  object = (struct call_object *)PyType_GenericAlloc(pool->state->call_type, 0);
  if (object == NULL) {
    call_abandon(call);
    return NULL;
  }
  call->object = object;
  object->call = call;
  Py_INCREF(self);
  object->pool = pool;
  return (PyObject *)object;
}

static PyObject *
pool_health_check(PyObject *self, PyObject *timeout)
{
  struct call *call;

  if (pool_of(self)->instance->library->functions.health_check == NULL) {
    return PyErr_Format(PyExc_LookupError, "the library has no backworks_plugin_health_check");
  }
  call = call_new(pool_of(self), timeout, run_health_check);
  return call != NULL ? call_run(pool_of(self), call, timeout) : NULL;
}

static PyObject *
pool_wait_method(PyObject *self, PyObject *timeout)
{
  uint64_t nanoseconds = SLICE;
  bool is_empty;

  if (timeout != Py_None && take_timeout(timeout, &nanoseconds) < 0) {
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  is_empty = pool_wait(pool_of(self)->pool, nanoseconds < SLICE ? nanoseconds : SLICE);
  Py_END_ALLOW_THREADS
  free_orphans();
  return PyBool_FromLong(is_empty);
}

static PyObject *
pool_close_method(PyObject *self, PyObject *unused)
{
  (void)unused;
  pool_close(pool_of(self)->pool);
  Py_RETURN_NONE;
}

static PyObject *
pool_get_in_flight(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromSize_t(pool_in_flight(pool_of(self)->pool));
}

static PyObject *
pool_get_overran(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromSize_t(pool_overran(pool_of(self)->pool));
}

static PyObject *
pool_get_is_inherited(PyObject *self, void *unused)
{
  (void)unused;
  return PyBool_FromLong(pool_is_inherited(pool_of(self)->pool));
}

static struct waker_object *
waker_of(PyObject *object)
{
  return (struct waker_object *)object;
}

static PyObject *
pool_waker(PyObject *self, PyObject *unused)
{
  struct waker_object *object = waker_of(PyType_GenericAlloc(pool_of(self)->state->waker_type, 0));

  (void)unused;
  if (object == NULL) {
    return NULL;
  }
  object->waker = waker_make();
  if (object->waker == NULL) {
    (void)PyErr_SetFromErrno(PyExc_OSError);
    Py_DECREF((PyObject *)object);
    return NULL;
  }
  return (PyObject *)object;
}

PyObject *
pool_new(struct instance *instance, const struct state *state, PyObject *arguments)
{
  PyObject *make_error;
  struct pool_object *object;
  int workers;

  if (!PyArg_ParseTuple(arguments, "iO:pool", &workers, &make_error)) {
    return NULL;
  }
  if (workers < 1) {
    return PyErr_Format(PyExc_ValueError, "workers must be at least 1, not %d", workers);
  }
  object = pool_of(PyType_GenericAlloc(state->pool_type, 0));
  if (object == NULL) {
    return NULL;
  }
  object->state = state;
  Py_INCREF((PyObject *)instance);
  object->instance = instance;
  Py_INCREF(make_error);
  object->make_error = make_error;
  object->pool = pool_make((unsigned)workers);
  if (object->pool == NULL) {
    Py_DECREF((PyObject *)object);
    return PyErr_NoMemory();
  }
  return (PyObject *)object;
}

static int
pool_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)pool_of(self)->instance);
  Py_VISIT(pool_of(self)->make_error);
  return 0;
}

static void
pool_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  if (pool_of(self)->pool != NULL) {
    pool_release(pool_of(self)->pool);
  }
  Py_XDECREF((PyObject *)pool_of(self)->instance);
  Py_XDECREF(pool_of(self)->make_error);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef pool_methods[] = {
  { "call", (PyCFunction)(void (*)(void))pool_call, METH_FASTCALL,
    "call($self, endpoint, method, data, timeout, traceparent, tracestate, /)\n--\n\n"
    "Calls backworks_plugin_process_endpoint_data in a thread of the pool, and waits for the Reply." },
  { "begin", (PyCFunction)(void (*)(void))pool_begin, METH_FASTCALL,
    "begin($self, endpoint, method, data, timeout, traceparent, tracestate, /)\n--\n\n"
    "Like call, but returns a Call if there is no Reply within microseconds." },
  { "health_check", pool_health_check, METH_O,
    "health_check($self, timeout, /)\n--\n\nCalls backworks_plugin_health_check in a thread of the pool." },
  { "wait", pool_wait_method, METH_O,
    "wait($self, timeout, /)\n--\n\nWaits until no call is in flight; returns whether none is. May return early." },
  { "close", pool_close_method, METH_NOARGS, "close($self)\n--\n\nEnds the threads after the calls in flight." },
  { "waker", pool_waker, METH_NOARGS, "waker($self)\n--\n\nMakes a Waker, which serves the calls of all pools." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef pool_members[] = {
  { "in_flight", pool_get_in_flight, NULL, "The number of calls that are queued or running.", NULL },
  { "overran", pool_get_overran, NULL, "The number of running calls that were abandoned at their deadline.", NULL },
  { "is_inherited", pool_get_is_inherited, NULL, "Whether the threads are in the process that forked this one.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot pool_slots[] = {
  { Py_tp_doc, "Worker threads that run the calls of one instance." },
  { Py_tp_methods, pool_methods },
  { Py_tp_getset, pool_members },
  { Py_tp_traverse, (void *)pool_traverse },
  { Py_tp_dealloc, (void *)pool_dealloc },
  { 0, NULL },
};

static PyType_Spec pool_spec = {
  .name = "backworks.ffi._native.Pool",
  .basicsize = sizeof(struct pool_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = pool_slots,
};

/* The type Call */

static struct call_object *
call_object_of(PyObject *object)
{
  return (struct call_object *)object;
}

static bool
is_consumed(PyObject *self)
{
  if (call_object_of(self)->call == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the call was already taken or dropped");
    return true;
  }
  return false;
}

static PyObject *
call_watch(PyObject *self, PyObject *const *values, Py_ssize_t count)
{
  struct call_object *object = call_object_of(self);

  if (is_consumed(self)) {
    return NULL;
  }
  if (count != 2 || !PyObject_TypeCheck(values[0], object->pool->state->waker_type)) {
    PyErr_SetString(PyExc_TypeError, "watch() takes a Waker and a future");
    return NULL;
  }
  if (object->waker != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the call is already watched");
    return NULL;
  }
  Py_INCREF(values[0]);
  object->waker = values[0];
  Py_INCREF(values[1]);
  object->future = values[1];
  return PyBool_FromLong(job_watch(&object->call->job, waker_of(values[0])->waker));
}

static PyObject *
call_take_method(PyObject *self, PyObject *timeout)
{
  struct call *call = call_object_of(self)->call;

  if (is_consumed(self)) {
    return NULL;
  }
  call_object_of(self)->call = NULL;
  return call_take(call_object_of(self)->pool, call, timeout);
}

/* Abandons the call, and releases its waker and future. */
static int
call_clear(PyObject *self)
{
  struct call *call = call_object_of(self)->call;

  if (call != NULL) {
    call_object_of(self)->call = NULL;
    call_abandon(call);
  }
  Py_CLEAR(call_object_of(self)->future);
  Py_CLEAR(call_object_of(self)->waker);
  return 0;
}

static PyObject *
call_drop_method(PyObject *self, PyObject *unused)
{
  (void)unused;
  (void)call_clear(self);
  Py_RETURN_NONE;
}

static int
call_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)call_object_of(self)->pool);
  Py_VISIT(call_object_of(self)->future);
  Py_VISIT(call_object_of(self)->waker);
  return 0;
}

static void
call_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  (void)call_clear(self);
  Py_XDECREF((PyObject *)call_object_of(self)->pool);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef call_methods[] = {
  { "watch", (PyCFunction)(void (*)(void))call_watch, METH_FASTCALL,
    "watch($self, waker, future, /)\n--\n\nPasses the future to the waker when the call is done. Returns False if it "
    "already is." },
  { "take", call_take_method, METH_O,
    "take($self, timeout, /)\n--\n\nReturns the Reply, or abandons a call without one and raises the timeout." },
  { "drop", call_drop_method, METH_NOARGS,
    "drop($self)\n--\n\nAbandons the call: it does not start, or its response is dropped. Does nothing after take." },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot call_slots[] = {
  { Py_tp_doc, "A call that a thread of a Pool runs." },
  { Py_tp_methods, call_methods },
  { Py_tp_traverse, (void *)call_traverse },
  { Py_tp_clear, (void *)call_clear },
  { Py_tp_dealloc, (void *)call_dealloc },
  { 0, NULL },
};

static PyType_Spec call_spec = {
  .name = "backworks.ffi._native.Call",
  .basicsize = sizeof(struct call_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = call_slots,
};

/* The type Waker */

static PyObject *
waker_fileno(PyObject *self, PyObject *unused)
{
  int descriptor = waker_descriptor(waker_of(self)->waker);

  (void)unused;
  if (descriptor < 0) {
    PyErr_SetString(PyExc_NotImplementedError, "event loops cannot watch descriptors on this system");
    return NULL;
  }
  return PyLong_FromLong(descriptor);
}

static PyObject *
waker_wait_method(PyObject *self, PyObject *unused)
{
  bool is_ready;

  (void)unused;
  Py_BEGIN_ALLOW_THREADS
  is_ready = waker_wait(waker_of(self)->waker, NANOSECONDS);
  Py_END_ALLOW_THREADS
  return PyBool_FromLong(is_ready);
}

static PyObject *
waker_clear_method(PyObject *self, PyObject *unused)
{
  (void)unused;
  waker_clear(waker_of(self)->waker);
  Py_RETURN_NONE;
}

static PyObject *
waker_take_method(PyObject *self, PyObject *unused)
{
  struct job *job = waker_take(waker_of(self)->waker);
  PyObject *future;

  (void)unused;
  if (job == NULL) {
    Py_RETURN_NONE;
  }
  future = ((struct call *)job)->object->future;
  ((struct call *)job)->object->future = NULL;
  return future;
}

static void
waker_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  if (waker_of(self)->waker != NULL) {
    waker_release(waker_of(self)->waker);
  }
  PyObject_Free(self);
  Py_DECREF(type);
}

static PyMethodDef waker_methods[] = {
  { "fileno", waker_fileno, METH_NOARGS,
    "fileno($self)\n--\n\nReturns a descriptor that is readable when calls are done." },
  { "wait", waker_wait_method, METH_NOARGS,
    "wait($self)\n--\n\nWaits until calls are done, for a second at most. Returns whether any may be." },
  { "clear", waker_clear_method, METH_NOARGS,
    "clear($self)\n--\n\nMakes the descriptor unreadable until the next call is done." },
  { "take", waker_take_method, METH_NOARGS, "take($self)\n--\n\nReturns the future of a call that is done, or None." },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot waker_slots[] = {
  { Py_tp_doc, "Notifies an event loop when calls are done, through one descriptor for all of them." },
  { Py_tp_methods, waker_methods },
  { Py_tp_dealloc, (void *)waker_dealloc },
  { 0, NULL },
};

static PyType_Spec waker_spec = {
  .name = "backworks.ffi._native.Waker",
  .basicsize = sizeof(struct waker_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = waker_slots,
};

int
pool_types(PyObject *module, struct state *state)
{
  pool_setup();
  if (add_type(module, &pool_spec, &state->pool_type) < 0 || add_type(module, &call_spec, &state->call_type) < 0) {
    return -1;
  }
  return add_type(module, &waker_spec, &state->waker_type);
}
