/* SPDX-License-Identifier: MIT
 *
 * What Python sees of threadpool.c: the types Pool, Call and Waker.
 *
 * A call keeps what it was given alive until it is done: its Python objects, and a copy of what its caller could change.
 * Who waits for it, waits without the interpreter lock; the threads of the pool never have that. */
#include "../binding/binding.h"
#include "threadpool.h"

#include <stdlib.h>
#include <string.h>

/* How long a waiting thread sleeps before it looks whether a signal has come, in nanoseconds: people notice no less. */
#define SLICE UINT64_C(50000000)

struct call {
  struct job job; /* first: a job of ours is a call */
  const struct state *state;
  struct instance *instance;
  PyObject *owner;   /* the Call, borrowed; NULL for a call that is waited for in C */
  PyObject *kept[5]; /* what the request borrows from */
  backworks_request request;
  struct answer answer;
};

struct pool_object {
  PyObject_HEAD
  struct pool *pool;
  struct instance *instance;
  PyObject *problem;
};

struct call_object {
  PyObject_HEAD
  struct call *call; /* NULL once it was taken or dropped */
  struct pool_object *pool;
  PyObject *waker, *future;
};

struct waker_object {
  PyObject_HEAD
  struct waker *waker;
  PyObject *settle; /* sets the result of a future, unless it is done: (future) */
};

/* Calls */

static const struct functions *
functions_of(const struct call *call)
{
  return &call->instance->library->functions;
}

/* Hands an answer that nobody takes back to the plugin. Without the interpreter lock. */
static void
forget(struct job *job)
{
  struct call *call = (struct call *)job;

  if (!call->answer.freed) {
    call->answer.freed = true;
    functions_of(call)->free_string(call->answer.seen.data, call->answer.seen.size);
  }
}

/* Frees a call that is done, or was never submitted. */
static void
call_free(struct call *call)
{
  size_t i;

  if (!call->answer.freed) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* the plugin may log */
    Py_BEGIN_ALLOW_THREADS
    forget(&call->job);
    Py_END_ALLOW_THREADS
    PyErr_Restore(type, value, traceback);
  }
  for (i = 0; i < 5; i++) {
    Py_XDECREF(call->kept[i]);
  }
  Py_DECREF((PyObject *)call->instance);
  condition_end(&call->job.done);
  free(call);
}

/* Lets a call run on without anybody who waits for it. */
static void
call_drop(struct call *call)
{
  if (job_drop(&call->job)) {
    call_free(call);
  }
}

/* Frees the calls that were dropped and have ended since. */
static void
sweep(void)
{
  struct job *job;

  while ((job = rubbish_take()) != NULL) {
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
  code = functions->process(call->instance->plugin, &call->request, &call->answer.response);
  answer_take(&call->answer, code, call->state, functions);
}

static void
run_health_check(struct job *job, uint64_t time_left)
{
  struct call *call = (struct call *)job;
  const struct functions *functions = functions_of(call);

  (void)time_left;
  answer_take(&call->answer, functions->health_check(call->instance->plugin, &call->answer.response), call->state,
              functions);
}

/* The values of enum life, and then those of enum submitted. */
static const char *const names[] = { "running", "quarantined", "closing", "closed", "abandoned",
                                     "nested",  "no thread",   "forked" };

/* Raises the exception that problem(kind, timeout) makes. */
static PyObject *
raise_problem(struct pool_object *pool, const char *kind, PyObject *timeout)
{
  PyObject *error = PyObject_CallFunction(pool->problem, "sO", kind, timeout);

  if (error != NULL) {
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
  }
  return NULL;
}

/* Makes a call without a request. `timeout` is a number of seconds or None. */
static struct call *
call_new(struct pool_object *pool, PyObject *timeout)
{
  struct call *call;
  uint64_t nanoseconds = 0;

  if (timeout != Py_None && take_timeout(timeout, &nanoseconds) < 0) {
    return NULL;
  }
  if (pool->instance->plugin == NULL && pool_life(pool->pool) == RUNNING) { /* behind the pool's back */
    PyErr_SetString(PyExc_RuntimeError, "the instance was shut down");
    return NULL;
  }
  call = malloc(sizeof *call);
  if (call == NULL) {
    (void)PyErr_NoMemory();
    return NULL;
  }
  memset(call, 0, offsetof(struct call, answer));
  condition_make(&call->job.done);
  call->job.forget = forget;
  call->job.until = timeout != Py_None ? clock_now() + nanoseconds : 0;
  call->state = PyType_GetModuleState(Py_TYPE((PyObject *)pool));
  Py_INCREF((PyObject *)pool->instance);
  call->instance = pool->instance;
  answer_prepare(&call->answer);
  call->answer.freed = true; /* there is nothing yet */
  return call;
}

/* Borrows the bytes of a value for the life of the call; what could change is copied. Takes the reference. */
static int
keep(struct call *call, size_t index, PyObject *value, const char *what, const char **data, size_t *size)
{
  struct text text;

  call->kept[index] = value;
  if (value == NULL || text_take(&text, value, what) < 0) {
    return -1;
  }
  *data = text.data; /* of a str or bytes, which hold still */
  *size = text.size;
  return 0;
}

static int
keep_text(struct call *call, size_t index, PyObject *value, const char *what, const char **data, size_t *size)
{
  if (!PyUnicode_Check(value) && !PyBytes_Check(value) && PyObject_CheckBuffer(value)) {
    value = PyBytes_FromObject(value);
  } else {
    Py_INCREF(value);
  }
  return keep(call, index, value, what, data, size);
}

/* The same for the value of an HTTP field, which is Latin-1; None is allowed. */
static int
keep_field(struct call *call, size_t index, PyObject *value, const char *what, const char **data, size_t *size)
{
  if (value == Py_None) {
    return 0;
  }
  if (PyUnicode_Check(value)) {
    return keep(call, index, PyUnicode_AsLatin1String(value), what, data, size);
  }
  return keep_text(call, index, value, what, data, size);
}

/* Makes a call of endpoint, method, data, timeout, traceparent and tracestate, in that order. */
static struct call *
call_of_request(struct pool_object *pool, PyObject *const *values, Py_ssize_t count)
{
  struct call *call;
  backworks_request *request;

  sweep();
  if (count != 6) {
    PyErr_Format(PyExc_TypeError, "a call takes 6 arguments (%zd given)", count);
    return NULL;
  }
  call = call_new(pool, values[3]);
  if (call == NULL) {
    return NULL;
  }
  call->job.run = run_process;
  request = &call->request;
  request->struct_size = sizeof *request;
  if (keep_text(call, 0, values[0], "endpoint", &request->endpoint, &request->endpoint_size) < 0 ||
      keep_text(call, 1, values[1], "method", &request->method, &request->method_size) < 0 ||
      keep_text(call, 2, values[2], "data", &request->data, &request->data_size) < 0 ||
      keep_field(call, 3, values[4], "traceparent", &request->traceparent, &request->traceparent_size) < 0 ||
      keep_field(call, 4, values[5], "tracestate", &request->tracestate, &request->tracestate_size) < 0) {
    call_free(call);
    return NULL;
  }
  return call;
}

/* Raises why a call was not queued, and frees it. */
static PyObject *
raise_not_submitted(struct pool_object *pool, struct call *call, enum submitted submitted)
{
  call_free(call);
  return raise_problem(pool, names[submitted], Py_None);
}

/* Makes the Reply of a call that is done, and frees the call. */
static PyObject *
call_take(struct pool_object *pool, struct call *call, PyObject *timeout)
{
  PyObject *reply = NULL;

  if (call->job.late) {
    (void)raise_problem(pool, "queued", timeout);
  } else {
    reply = answer_reply(&call->answer, call->state, functions_of(call));
  }
  job_taken(&call->job);
  call_free(call);
  return reply;
}

/* Gives up a call whose time is over: raises that, or returns its Reply if it is done after all. */
static PyObject *
call_give_up(struct pool_object *pool, struct call *call, PyObject *timeout)
{
  switch (job_give_up(&call->job)) {
  case DONE:
    return call_take(pool, call, timeout);
  case QUEUED:
    call_free(call);
    return raise_problem(pool, "queued", timeout);
  default:
    return raise_problem(pool, "overran", timeout);
  }
}

/* Runs a call and waits for it. */
static PyObject *
call_run(struct pool_object *pool, struct call *call, PyObject *timeout)
{
  enum submitted submitted;
  struct job *job = &call->job;
  uint64_t until = job->until, now, left;
  bool done = false;

  Py_BEGIN_ALLOW_THREADS
  submitted = pool_submit(pool->pool, job);
  if (submitted == SUBMITTED) {
    done = job_is_near(job) && job_poll(job);
  }
  Py_END_ALLOW_THREADS
  if (submitted != SUBMITTED) {
    return raise_not_submitted(pool, call, submitted);
  }
  while (!done) {
    left = SLICE;
    if (until != 0) {
      now = clock_now();
      if (now >= until) {
        return call_give_up(pool, call, timeout);
      }
      left = until - now < SLICE ? until - now : SLICE;
    }
    Py_BEGIN_ALLOW_THREADS
    done = job_sleep(job, left);
    Py_END_ALLOW_THREADS
    if (!done && PyErr_CheckSignals() < 0) {
      call_drop(call);
      return NULL;
    }
  }
  return call_take(pool, call, timeout);
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

  return call != NULL ? call_run(pool_of(self), call, values[3]) : NULL;
}

static PyObject *
pool_begin(PyObject *self, PyObject *const *values, Py_ssize_t count)
{
  struct pool_object *pool = pool_of(self);
  struct call *call = call_of_request(pool, values, count);
  struct call_object *object;
  enum submitted submitted;
  bool done = false;

  if (call == NULL) {
    return NULL;
  }
  submitted = pool_submit(pool->pool, &call->job);
  if (submitted != SUBMITTED) {
    return raise_not_submitted(pool, call, submitted);
  }
  if (job_is_near(&call->job)) {
    Py_BEGIN_ALLOW_THREADS
    done = job_poll(&call->job);
    Py_END_ALLOW_THREADS
  }
  if (done) {
    return call_take(pool, call, values[3]);
  }
  object = (struct call_object *)PyType_GenericAlloc(call->state->call_type, 0);
  if (object == NULL) {
    call_drop(call);
    return NULL;
  }
  object->call = call;
  call->owner = (PyObject *)object;
  Py_INCREF(self);
  object->pool = pool;
  return (PyObject *)object;
}

static PyObject *
pool_health_check(PyObject *self, PyObject *timeout)
{
  struct call *call;

  sweep();
  call = call_new(pool_of(self), timeout);
  if (call == NULL) {
    return NULL;
  }
  if (functions_of(call)->health_check == NULL) {
    call_free(call);
    return PyErr_Format(PyExc_LookupError, "the library has no backworks_plugin_health_check");
  }
  call->job.run = run_health_check;
  return call_run(pool_of(self), call, timeout);
}

static PyObject *
pool_drain(PyObject *self, PyObject *timeout)
{
  struct pool *pool = pool_of(self)->pool;
  enum closing closing;
  bool first = false, interrupted;
  uint64_t until = 0, now, left;

  if (timeout != Py_None) {
    if (take_timeout(timeout, &until) < 0) {
      return NULL;
    }
    until += clock_now();
  }
  do {
    left = SLICE;
    if (until != 0) {
      now = clock_now();
      left = now >= until ? 0 : until - now < SLICE ? until - now : SLICE;
    }
    Py_BEGIN_ALLOW_THREADS
    closing = pool_close(pool, &first, left);
    Py_END_ALLOW_THREADS
    interrupted = closing == NOT_YET && PyErr_CheckSignals() < 0;
  } while (closing == NOT_YET && left > 0 && !interrupted);
  if (closing == NOT_YET && first) {
    pool_closed(pool, false);
  }
  sweep();
  return interrupted ? NULL : PyBool_FromLong(closing == EMPTY);
}

static PyObject *
pool_ended(PyObject *self, PyObject *shut_down)
{
  int truth = PyObject_IsTrue(shut_down);

  if (truth < 0) {
    return NULL;
  }
  pool_closed(pool_of(self)->pool, truth);
  Py_RETURN_NONE;
}

static PyObject *
pool_get_state(PyObject *self, void *unused)
{
  (void)unused;
  return PyUnicode_FromString(names[pool_life(pool_of(self)->pool)]);
}

static PyObject *
pool_get_in_flight(PyObject *self, void *unused)
{
  (void)unused;
  return PyLong_FromSize_t(pool_inside(pool_of(self)->pool));
}

static struct waker_object *
waker_of(PyObject *object)
{
  return (struct waker_object *)object;
}

static PyObject *
pool_waker(PyObject *self, PyObject *settle)
{
  const struct state *state = PyType_GetModuleState(Py_TYPE(self));
  struct waker_object *object = waker_of(PyType_GenericAlloc(state->waker_type, 0));

  if (object == NULL) {
    return NULL;
  }
  Py_INCREF(settle);
  object->settle = settle;
  object->waker = waker_make();
  if (object->waker == NULL) {
    Py_DECREF((PyObject *)object);
    return PyErr_Occurred() ? NULL : PyErr_SetFromErrno(PyExc_OSError);
  }
  return (PyObject *)object;
}

PyObject *
pool_new(struct instance *instance, const struct state *state, PyObject *arguments)
{
  PyObject *problem;
  struct pool_object *object;
  int workers;

  if (!PyArg_ParseTuple(arguments, "iO:pool", &workers, &problem)) {
    return NULL;
  }
  if (workers < 1) {
    return PyErr_Format(PyExc_ValueError, "workers is %d; it takes at least 1", workers);
  }
  object = pool_of(PyType_GenericAlloc(state->pool_type, 0));
  if (object == NULL) {
    return NULL;
  }
  Py_INCREF((PyObject *)instance);
  object->instance = instance;
  Py_INCREF(problem);
  object->problem = problem;
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
  Py_VISIT(pool_of(self)->problem);
  return 0;
}

/* Its threads end by themselves. */
static void
pool_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  if (pool_of(self)->pool != NULL) {
    pool_let_go(pool_of(self)->pool);
  }
  Py_XDECREF((PyObject *)pool_of(self)->instance);
  Py_XDECREF(pool_of(self)->problem);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef pool_methods[] = {
  { "call", (PyCFunction)(void (*)(void))pool_call, METH_FASTCALL,
    "call($self, endpoint, method, data, timeout, traceparent, tracestate, /)\n--\n\n"
    "Has a thread call backworks_plugin_process_endpoint_data, and waits for the Reply." },
  { "begin", (PyCFunction)(void (*)(void))pool_begin, METH_FASTCALL,
    "begin($self, endpoint, method, data, timeout, traceparent, tracestate, /)\n--\n\n"
    "As call, but returns a Call where the Reply is not there within microseconds." },
  { "health_check", pool_health_check, METH_O,
    "health_check($self, timeout, /)\n--\n\nHas a thread call backworks_plugin_health_check." },
  { "drain", pool_drain, METH_O,
    "drain($self, timeout, /)\n--\n\nLets no call in and waits for those inside. Returns whether the caller has to shut "
    "the instance\ndown and then call ended()." },
  { "ended", pool_ended, METH_O, "ended($self, shut_down, /)\n--\n\nNotes that the shutdown has returned, or does not." },
  { "waker", pool_waker, METH_O,
    "waker($self, settle, /)\n--\n\nMakes a Waker, for the calls of any pool; settle(future) ends a future's wait." },
  { NULL, NULL, 0, NULL },
};

static PyGetSetDef pool_members[] = {
  { "state", pool_get_state, NULL, "The state of the instance: a value of admission.State.", NULL },
  { "in_flight", pool_get_in_flight, NULL, "How many calls are in it.", NULL },
  { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot pool_slots[] = {
  { Py_tp_doc, "Threads that run the calls of one instance." },
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

/* Takes the call from the object, which lets go of who is to be told. */
static struct call *
call_from(PyObject *self)
{
  struct call *call = call_object_of(self)->call;

  if (call == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the call was taken or dropped before");
  }
  return call;
}

static void
let_go(PyObject *self)
{
  call_object_of(self)->call = NULL;
  Py_CLEAR(call_object_of(self)->future);
  Py_CLEAR(call_object_of(self)->waker);
}

static PyObject *
call_watch(PyObject *self, PyObject *const *values, Py_ssize_t count)
{
  struct call *call = call_from(self);

  if (call == NULL) {
    return NULL;
  }
  if (count != 2 || !PyObject_TypeCheck(values[0], call->state->waker_type)) {
    PyErr_SetString(PyExc_TypeError, "watch() takes a Waker and a future");
    return NULL;
  }
  if (call_object_of(self)->waker != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the call is watched already");
    return NULL;
  }
  Py_INCREF(values[0]);
  call_object_of(self)->waker = values[0];
  Py_INCREF(values[1]);
  call_object_of(self)->future = values[1];
  return PyBool_FromLong(job_watch(&call->job, ((struct waker_object *)values[0])->waker));
}

static PyObject *
call_result(PyObject *self, PyObject *timeout)
{
  struct call *call = call_from(self);

  if (call == NULL) {
    return NULL;
  }
  if (!job_sleep(&call->job, 0)) { /* asked under the mutex: the waker is told a moment before the job is done */
    PyErr_SetString(PyExc_RuntimeError, "the call is not done");
    return NULL;
  }
  (void)job_drop(&call->job); /* out of the list of its waker */
  let_go(self);
  return call_take(call_object_of(self)->pool, call, timeout);
}

static PyObject *
call_expire(PyObject *self, PyObject *timeout)
{
  struct call *call = call_from(self);

  if (call == NULL) {
    return NULL;
  }
  let_go(self);
  return call_give_up(call_object_of(self)->pool, call, timeout);
}

static void
drop(PyObject *self)
{
  struct call *call = call_object_of(self)->call;

  if (call != NULL) {
    call_drop(call);
    let_go(self);
  }
}

static PyObject *
call_drop_method(PyObject *self, PyObject *unused)
{
  (void)unused;
  drop(self);
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

static int
call_clear(PyObject *self)
{
  drop(self);
  return 0;
}

static void
call_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  drop(self);
  Py_XDECREF((PyObject *)call_object_of(self)->pool);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef call_methods[] = {
  { "watch", (PyCFunction)(void (*)(void))call_watch, METH_FASTCALL,
    "watch($self, waker, future, /)\n--\n\nHas the waker set the future's result, None, when the call is done. Returns "
    "False if it is." },
  { "result", call_result, METH_O, "result($self, timeout, /)\n--\n\nReturns the Reply of a call that is done." },
  { "expire", call_expire, METH_O,
    "expire($self, timeout, /)\n--\n\nGives up the call, which raises, or returns its Reply if it is done." },
  { "drop", call_drop_method, METH_NOARGS, "drop($self)\n--\n\nLets the call run on without anybody who waits for it." },
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
    PyErr_SetString(PyExc_NotImplementedError, "event loops watch no descriptors here");
    return NULL;
  }
  return PyLong_FromLong(descriptor);
}

static PyObject *
waker_wait_for(PyObject *self, PyObject *unused)
{
  bool ringing;

  (void)unused;
  Py_BEGIN_ALLOW_THREADS
  ringing = waker_wait(waker_of(self)->waker, NANOSECONDS);
  Py_END_ALLOW_THREADS
  return PyBool_FromLong(ringing);
}

/* Tells one future that its call is done. */
static void
tell(struct waker_object *waker, PyObject *future)
{
  PyObject *result = PyObject_CallFunctionObjArgs(waker->settle, future, NULL);

  if (result == NULL) {
    PyErr_WriteUnraisable(future);
  }
  Py_XDECREF(result);
}

static PyObject *
waker_wake(PyObject *self, PyObject *unused)
{
  struct job *job;

  (void)unused;
  waker_clear(waker_of(self)->waker);
  while ((job = waker_take(waker_of(self)->waker)) != NULL) {
    struct call_object *owner = call_object_of(((struct call *)job)->owner);
    PyObject *future = owner->future;
    owner->future = NULL;
    tell(waker_of(self), future);
    Py_DECREF(future);
  }
  Py_RETURN_NONE;
}

static int
waker_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(waker_of(self)->settle);
  return 0;
}

static void
waker_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  if (waker_of(self)->waker != NULL) {
    waker_let_go(waker_of(self)->waker);
  }
  Py_XDECREF(waker_of(self)->settle);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef waker_methods[] = {
  { "fileno", waker_fileno, METH_NOARGS, "fileno($self)\n--\n\nReturns a descriptor that is readable when calls are done." },
  { "wait", waker_wait_for, METH_NOARGS,
    "wait($self)\n--\n\nWaits until calls are done, for a second at most; tells whether wake() may find some." },
  { "wake", waker_wake, METH_NOARGS, "wake($self)\n--\n\nSets the futures of the calls that are done." },
  { NULL, NULL, 0, NULL },
};

static PyType_Slot waker_slots[] = {
  { Py_tp_doc, "Tells an event loop that calls are done: one descriptor for all of them." },
  { Py_tp_methods, waker_methods },
  { Py_tp_traverse, (void *)waker_traverse },
  { Py_tp_dealloc, (void *)waker_dealloc },
  { 0, NULL },
};

static PyType_Spec waker_spec = {
  .name = "backworks.ffi._native.Waker",
  .basicsize = sizeof(struct waker_object),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = waker_slots,
};

int
pool_types(PyObject *module, struct state *state)
{
  pool_setup();
  state->pool_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pool_spec, NULL);
  state->call_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &call_spec, NULL);
  state->waker_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &waker_spec, NULL);
  if (state->pool_type == NULL || state->call_type == NULL || state->waker_type == NULL) {
    return -1;
  }
  return PyModule_AddType(module, state->pool_type) < 0 || PyModule_AddType(module, state->call_type) < 0
             ? -1
             : PyModule_AddType(module, state->waker_type);
}
