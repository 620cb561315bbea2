/* SPDX-License-Identifier: MIT
 *
 * A plugin may log from any thread, including threads unknown to Python, and some do so while the process ends.
 * Acquiring the lock of a finalised interpreter crashes, and acquiring it during finalisation never returns. Every
 * record therefore passes a gate, which counts the records in flight. Once the gate is closed (by atexit, before
 * finalisation begins), it admits no more records. Closing waits for the records in flight. */
#include "binding.h"

#include <pythread.h>
#include <stdlib.h>

/* How long the end of the process waits for records in flight, in microseconds: thousands of times what a record takes.
 * A log function that takes longer hangs, which must not prevent the process from ending. */
#define PATIENCE 100000

static PyObject *deliver; /* logs.deliver; set once and kept, because a callback has no other access to it */
static size_t text_limit;

static PyThread_type_lock gate; /* guards the next two */
static unsigned int inside;
static bool closed;
static PyThread_type_lock busy; /* held while inside > 0, by no thread in particular */

static bool
enter(void)
{
  bool open;

  (void)PyThread_acquire_lock(gate, WAIT_LOCK);
  open = !closed;
  if (open && inside++ == 0) {
    (void)PyThread_acquire_lock(busy, WAIT_LOCK);
  }
  PyThread_release_lock(gate);
  return open;
}

static void
leave(void)
{
  (void)PyThread_acquire_lock(gate, WAIT_LOCK);
  if (--inside == 0) {
    PyThread_release_lock(busy);
  }
  PyThread_release_lock(gate);
}

static void
host_log(void *context, uint32_t level, const char *text, size_t size)
{
  PyGILState_STATE gil;
  PyObject *result;

  if (text == NULL || !enter()) {
    return;
  }
  if (size > text_limit) {
    size = text_limit;
  }
  gil = PyGILState_Ensure();
  /* The context is a number and never dereferenced: an invalid one reaches no log function. */
  result = PyObject_CallFunction(deliver, "NkN", PyLong_FromVoidPtr(context), (unsigned long)level,
                                 PyBytes_FromStringAndSize(text, (Py_ssize_t)size));
  if (result == NULL) {
    PyErr_WriteUnraisable(deliver);
  }
  Py_XDECREF(result);
  PyGILState_Release(gil);
  leave();
}

static const void *
host_get_extension(void *context, const char *id)
{
  (void)context;
  (void)id;
  return NULL;
}

int
host_setup(PyObject *deliver_function, size_t max_text)
{
  if (deliver != NULL) {
    return 0;
  }
  if (gate == NULL) {
    gate = PyThread_allocate_lock();
  }
  if (busy == NULL) {
    busy = PyThread_allocate_lock();
  }
  if (gate == NULL || busy == NULL) {
    (void)PyErr_NoMemory();
    return -1;
  }
  text_limit = max_text;
  Py_INCREF(deliver_function);
  deliver = deliver_function;
  return 0;
}

backworks_host *
host_new(PyObject *number)
{
  backworks_host *host;
  void *context = PyLong_AsVoidPtr(number);

  if (context == NULL && PyErr_Occurred()) {
    return NULL;
  }
  host = calloc(1, sizeof *host);
  if (host == NULL) {
    (void)PyErr_NoMemory();
    return NULL;
  }
  host->struct_size = sizeof *host;
  host->abi_version = BACKWORKS_ABI_VERSION;
  host->context = context;
  host->log = host_log;
  host->get_extension = host_get_extension;
  return host;
}

void
host_free(backworks_host *host)
{
  free(host);
}

PyObject *
host_stop_logging(PyObject *module, PyObject *unused)
{
  (void)module;
  (void)unused;
  Py_BEGIN_ALLOW_THREADS
  (void)PyThread_acquire_lock(gate, WAIT_LOCK);
  closed = true;
  PyThread_release_lock(gate);
  if (PyThread_acquire_lock_timed(busy, PATIENCE, 0) == PY_LOCK_ACQUIRED) {
    PyThread_release_lock(busy);
  }
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}
