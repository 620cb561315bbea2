/* SPDX-License-Identifier: MIT
 *
 * backworks.ffi._native: the contract of backworks/ffi/contract.py, implemented in C.
 *
 *   module.c     the module, and the Python objects that it imports
 *   library.c    the type Library
 *   instance.c   the type Instance
 *   reply.c      converts a backworks_response to a Reply
 *   text.c       converts Python values to pointer and size
 *   host.c       the functions that a plugin may call: its backworks_host
 *   dynlib.c     the system's dynamic linker
 *
 * and, for speed, files that each replace a Python class (../fastpath):
 *
 *   admission.c     the types Gate and Turn: admission of calls
 *   slots.c         the types Slot and FreeSlots: assignment of workers to calls
 *   calls.c         the type Calls: the methods of a Plugin that make calls
 *   pool_type.c     the types Pool, Call and Waker: calls in worker threads
 *   threadpool.c    the worker threads, without Python; uses threads.h
 *   mailbox.c       the type Mailbox: calls in a worker process; uses ../wire/mailbox.h
 *   request_json.c  the JSON of an HTTP request; calls no plugin
 *
 * The path of a call: arguments are borrowed as pointer and size (text.c); the interpreter lock is released; the plugin
 * is called; its response is checked and, if small, copied and freed (reply.c); the lock is acquired again, once; a
 * Reply is created. A large response is copied directly into its bytes object and then freed without the lock.
 *
 * Rules: no function of a plugin, of the dynamic linker or of a plugin's allocator runs while this thread holds the
 * interpreter lock, because the function may wait for a thread that waits in host_log for that lock. None runs while an
 * exception is set, because host_log runs Python code. No library is ever unmapped. A function that returns PyObject *
 * or int returns NULL or -1 with an exception set. */
#ifndef BACKWORKS_BINDING_H
#define BACKWORKS_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#define BACKWORKS_NO_HELPERS
#include "backworks_plugin.h"

/* The functions that a library exports; NULL if it does not. */
struct functions {
  uint32_t (*abi_version)(void);
  const char *(*name)(void);
  const char *(*version)(void);
  int32_t (*init)(const backworks_host *, const char *, size_t, backworks_plugin **, backworks_response *);
  int32_t (*process)(backworks_plugin *, const backworks_request *, backworks_response *);
  void (*free_string)(char *, size_t);
  int32_t (*shutdown)(backworks_plugin *);
  const char *(*description)(void);
  int32_t (*health_check)(backworks_plugin *, backworks_response *);
  int32_t (*reconfigure)(backworks_plugin *, const char *, size_t, backworks_response *);
};

/* module.c */

/* The arguments of a plugin's calls: process_endpoint_data has all of them, answer all except as_bytes. */
enum call_argument {
  CALL_ENDPOINT,
  CALL_METHOD,
  CALL_DATA,
  CALL_TIMEOUT,
  CALL_TRACEPARENT,
  CALL_TRACESTATE,
  CALL_RAW,
  CALL_ARGUMENTS
};

/* The state of the module; constant after the import. */
struct state {
  PyTypeObject *library_type;
  PyTypeObject *instance_type;
  PyTypeObject *gate_type;
  PyTypeObject *turn_type;
  PyTypeObject *calls_type;
  PyTypeObject *slot_type;       /* NULL in free-threaded builds, as is the next */
  PyTypeObject *free_slots_type;
  PyTypeObject *pool_type;
  PyTypeObject *call_type;
  PyTypeObject *waker_type;
  PyTypeObject *mailbox_type; /* NULL without mailboxes */
  PyObject *argument_names[CALL_ARGUMENTS]; /* interned */
  PyObject *reply_type; /* contract.Reply */
  PyObject *violation;  /* contract.ContractViolation */
  PyObject *register_log; /* logs.register */
  PyObject *forget_log;   /* logs.forget */
  newfunc tuple_new;
  size_t max_answer; /* contract.MAX_ANSWER */
  size_t max_field;  /* contract.MAX_FIELD */
};

/* dynlib.c */

typedef void (*dynlib_function)(void);

/* Opens the library at an absolute path, a str. Returns NULL with an OSError that has the linker's message, or a
 * ValueError. */
void *dynlib_open(PyObject *path);

/* Returns the function with a name, or NULL. Runs without the interpreter lock. */
dynlib_function dynlib_symbol(void *handle, const char *name);

/* text.c */

/* Bytes borrowed from a Python value until text_release. */
struct text {
  const char *data; /* never NULL after text_take */
  size_t size;
  Py_buffer buffer; /* held if its obj is not NULL */
};

#define NO_TEXT { NULL, 0, { .obj = NULL } }

/* Like NO_TEXT, without zeroing the whole structure. */
static inline void
text_none(struct text *text)
{
  text->data = NULL;
  text->size = 0;
  text->buffer.obj = NULL;
}

/* Borrows the UTF-8 of a str, or the buffer of another object. `what` names the value in a TypeError. */
int text_take(struct text *text, PyObject *value, const char *what);

/* Returns what text_take borrowed, if anything. */
void text_release(struct text *text);

/* The parts of a request, borrowed for a call. */
struct texts {
  struct text endpoint, method, data, traceparent, tracestate;
};

static inline void
texts_none(struct texts *texts)
{
  text_none(&texts->endpoint);
  text_none(&texts->method);
  text_none(&texts->data);
  text_none(&texts->traceparent);
  text_none(&texts->tracestate);
}

static inline void
texts_release(struct texts *texts)
{
  text_release(&texts->tracestate);
  text_release(&texts->traceparent);
  text_release(&texts->data);
  text_release(&texts->method);
  text_release(&texts->endpoint);
}

static inline void
request_make(backworks_request *request, const struct texts *texts, uint64_t time_left)
{
  request->struct_size = sizeof *request;
  request->reserved = 0;
  request->endpoint = texts->endpoint.data;
  request->endpoint_size = texts->endpoint.size;
  request->method = texts->method.data;
  request->method_size = texts->method.size;
  request->data = texts->data.data;
  request->data_size = texts->data.size;
  request->time_left_ns = time_left;
  request->traceparent = texts->traceparent.data;
  request->traceparent_size = texts->traceparent.size;
  request->tracestate = texts->tracestate.data;
  request->tracestate_size = texts->tracestate.size;
}

/* Reads a timeout in seconds, within the limits of timeouts.check_timeout. */
int take_timeout(PyObject *value, uint64_t *nanoseconds);

/* A method: the names of its arguments, their number, how many may be positional, and how many are required. */
struct signature {
  const char *name;
  const char *const *names;
  Py_ssize_t count;
  Py_ssize_t by_place;
  Py_ssize_t required;
};

/* Parses the positional and keyword arguments of a call; values[i] is borrowed, or NULL if missing. `interned` contains
 * the names as interned Python strings, or is NULL. */
int sort_arguments(const struct signature *signature, PyObject *const *interned, PyObject *const *given,
                   Py_ssize_t positional, PyObject *keywords, PyObject **values);

/* reply.c */

/* Responses up to this size are copied twice, so that the interpreter lock is acquired only once: copying 4 KiB costs
 * less than waiting for the lock again, which takes milliseconds if other threads are busy. */
#define SMALL_ANSWER 4096

/* One response, from the plugin's call to the Reply. On the stack of the calling thread. */
struct answer {
  backworks_response response; /* filled by the plugin */
  backworks_response seen;     /* a copy made when the call returns: read once, checked, then trusted */
  int32_t code;
  const char *broken_field; /* the field that violates the ABI, or NULL */
  size_t broken_size;
  size_t broken_limit; /* 0: the field is NULL */
  bool freed;          /* the plugin's memory has been freed; `seen` points into `copy` */
  char copy[SMALL_ANSWER];
};

/* Zeroes the response. */
void answer_prepare(struct answer *answer);

/* Checks the response, and copies and frees it if it is small or invalid. Without the interpreter lock. */
void answer_take(struct answer *answer, int32_t code, const struct state *state, const struct functions *functions);

/* Returns the message of a ContractViolation, a str, if broken_field is set. */
PyObject *answer_violation(const struct answer *answer);

/* Creates the Reply, and frees the plugin's memory if that is still necessary, also on failure. With the interpreter
 * lock. */
PyObject *answer_reply(struct answer *answer, const struct state *state, const struct functions *functions);

/* Creates a Reply from its five fields, whose references it takes; if one is NULL, fails with a MemoryError. */
PyObject *reply_of(const struct state *state, PyObject *values[5]);

/* host.c */

/* Sets the function that receives the records (logs.deliver) and the maximum size of their text. Later calls do
 * nothing. */
int host_setup(PyObject *deliver_function, size_t max_text);

/* Creates the host structure of one instance, whose records go to the function registered as `number`, a Python int. */
backworks_host *host_new(PyObject *number);

/* Frees the structure; accepts NULL. */
void host_free(backworks_host *host);

/* Ends logging before the interpreter ends: waits briefly for records in flight, and drops all later ones. */
PyObject *host_stop_logging(PyObject *module, PyObject *unused);

/* library.c */

struct library {
  PyObject_HEAD
  PyObject *path;
  struct functions functions;
};

extern PyType_Spec library_spec;

/* Opens a library: the module's function `open`. */
PyObject *library_open(PyObject *module, PyObject *path);

/* instance.c */

/* One initialised plugin. `plugin` is NULL before init and after shutdown. The host structure outlives a plugin that is
 * never shut down, because its threads may still log. */
struct instance {
  PyObject_HEAD
  struct library *library;
  backworks_plugin *plugin;
  backworks_host *host;
  PyObject *log_number;
};

extern PyType_Spec instance_spec;

/* Calls init: the method of Library. Returns (Reply, Instance or None). */
PyObject *instance_init(struct library *library, const struct state *state, PyObject *config, PyObject *log);

/* calls.c */

extern PyType_Spec calls_spec;

/* Interns the names of the arguments. */
int calls_setup(struct state *state);

/* Borrows the request's data; copies it if its buffer is not contiguous. */
int take_data(struct text *text, PyObject *value);

/* Borrows the value of an HTTP field, encoded as Latin-1; NULL and None mean that there is no value. */
int take_field(struct text *text, PyObject *value, const char *what);

/* The two methods that make a plugin's calls. */
extern const struct signature call_signature, answer_signature;

#define PROCESS_DOC                                                                                                    \
  "process_endpoint_data($self, endpoint, method='GET', data='', *, as_bytes=False, timeout=None, traceparent=None, "  \
  "tracestate=None)\n--\n\nSends a request to the plugin; see backworks.Plugin.process_endpoint_data."
#define ANSWER_DOC                                                                                                     \
  "answer($self, endpoint, method, data, timeout=None, traceparent=None, tracestate=None)\n--\n\n"                     \
  "Sends a request to the plugin; see backworks.Plugin.answer."

/* module.c */

/* Creates a type and adds it to the module. Returns -1 with an exception. */
int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type);

/* pool_type.c */

/* Creates a Pool: the method of Instance, with the tuple of its arguments. */
PyObject *pool_new(struct instance *instance, const struct state *state, PyObject *arguments);

/* Adds the types of the pool to the module. */
int pool_types(PyObject *module, struct state *state);

/* request_json.c */

PyObject *request_json(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
