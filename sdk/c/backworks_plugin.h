/* SPDX-License-Identifier: MIT
 *
 * backworks_plugin.h: the contract between Backworks and a compiled plugin.
 *
 * A plugin is a shared library that exports the symbols declared below. This file is the only definition of the ABI:
 * the Python host reads its declarations from here, the Rust SDK checks its own against the same numbers, and C and C++
 * plugins include it.
 *
 * Contents
 *   1. Stability and conduct
 *   2. Terms and tags
 *   3. Declarations: codes, levels, structures, functions      (plain C, for tools as well as compilers)
 *   4. Layout assertions
 *   5. Helpers for plugins written in C and C++                (not part of the ABI)
 *
 * 1. Stability and conduct
 * ------------------------
 * - The layout, meaning, ownership, nullness and threading rules of a released structure, function or constant never
 *   change. A new version gets a new name.
 * - Only structures that begin with struct_size can grow, and only at their end. A field may be read only if
 *   struct_size covers it. The side that allocates a structure sets struct_size.
 * - New functions are optional symbols, looked up by name; they never become required.
 * - BACKWORKS_ABI_VERSION changes only if these rules must be broken. A host rejects a library whose
 *   backworks_plugin_abi_version() it does not know.
 * - No function may throw, longjmp, exit, or let a panic cross the boundary, in either direction.
 * - All text is UTF-8. Text passed as pointer and size is not NUL-terminated and may contain NUL bytes. `data` may be
 *   any bytes.
 * - A library must leave process-wide state alone: standard output, the working directory, the environment, the
 *   locale, the umask, signal handlers, the floating-point mode, and descriptors that it did not open.
 * - Loading a library must take less than 100 ms; slower work belongs in init.
 * - After the last shutdown, no thread, child process or descriptor of the library may remain, except those of a
 *   language runtime that ends only with the process.
 *
 * 2. Terms and tags
 * -----------------
 * host      the program that loads the library.
 * instance  the result of one successful backworks_plugin_init: a configuration and its state. A library may have
 *           several.
 *
 * The tags of each function define from which thread and in which state the host calls it:
 *
 * [any-thread]   from any thread, including several at once, and from a thread that the library has not seen before.
 * [one-thread]   from any thread, but never during another [one-thread] call to this library.
 * [loaded]       after the library has been opened; no instance is needed.
 * [running]      with an instance whose init has returned BACKWORKS_OK and whose shutdown has not been called.
 * [serial]       no other call with the same instance is running.
 * [concurrent]   other [concurrent] calls with the same instance may be running, unless the manifest says
 *                "thread_safe": false, which makes the call [serial].
 */
#ifndef BACKWORKS_PLUGIN_H
#define BACKWORKS_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define BACKWORKS_EXPORT __declspec(dllexport)
#else
#define BACKWORKS_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* 3. Declarations
 *
 * The part between the two markers is plain C, so that a parser without a preprocessor can read it.
 * [backworks:declarations:begin] */

/* The version of this ABI. A library returns the value that it was compiled with. */
#define BACKWORKS_ABI_VERSION 1

/* The return codes of init, process_endpoint_data, health_check and reconfigure: gRPC's canonical codes, by number.
 * Any other number is taken as BACKWORKS_UNKNOWN. In parentheses: the HTTP status that the host sends unless the plugin
 * sets one. */
typedef enum backworks_code {
  BACKWORKS_OK = 0,                   /* (200) */
  BACKWORKS_CANCELLED = 1,            /* (499) the caller gave up */
  BACKWORKS_UNKNOWN = 2,              /* (500) */
  BACKWORKS_INVALID_ARGUMENT = 3,     /* (400) the request is invalid, whatever the plugin's state */
  BACKWORKS_DEADLINE_EXCEEDED = 4,    /* (504) */
  BACKWORKS_NOT_FOUND = 5,            /* (404) */
  BACKWORKS_ALREADY_EXISTS = 6,       /* (409) */
  BACKWORKS_PERMISSION_DENIED = 7,    /* (403) */
  BACKWORKS_RESOURCE_EXHAUSTED = 8,   /* (429) */
  BACKWORKS_FAILED_PRECONDITION = 9,  /* (400) the plugin's state does not allow it, until that state changes */
  BACKWORKS_ABORTED = 10,             /* (409) */
  BACKWORKS_OUT_OF_RANGE = 11,        /* (400) */
  BACKWORKS_UNIMPLEMENTED = 12,       /* (501) */
  BACKWORKS_INTERNAL = 13,            /* (500) the plugin has detected a bug in itself */
  BACKWORKS_UNAVAILABLE = 14,         /* (503) try again later */
  BACKWORKS_DATA_LOSS = 15,           /* (500) */
  BACKWORKS_UNAUTHENTICATED = 16      /* (401) */
} backworks_code;

/* Levels of backworks_host.log: the numbers of Python's logging module. Other numbers are accepted, with the same
 * meaning as in Python. */
typedef enum backworks_level {
  BACKWORKS_DEBUG = 10,
  BACKWORKS_INFO = 20,
  BACKWORKS_WARNING = 30,
  BACKWORKS_ERROR = 40,
  BACKWORKS_CRITICAL = 50
} backworks_level;

/* One instance. The library defines the structure, or casts the pointer; the host only passes it back. */
typedef struct backworks_plugin backworks_plugin;

/* The functions that the host provides to one instance. Allocated by the host; constant; valid from the call to init
 * until that instance's shutdown returns (or until init returns, if it fails). */
typedef struct backworks_host {
  uint32_t struct_size; /* bytes of this structure that the host filled */
  uint32_t abi_version; /* the BACKWORKS_ABI_VERSION of the host */

  /* The first argument of the functions below. Opaque to the plugin. */
  void *context;

  /* Writes one record to the host's log, under this plugin's name. `text` is `size` bytes of UTF-8, borrowed for the
   * call; invalid UTF-8 is replaced, and control characters are escaped, so that a record is one line. The host limits
   * the length and the number of records per second. `level` is a backworks_level. Never NULL, never fails, may block
   * briefly.
   * [any-thread, from the call to init until shutdown returns] */
  void (*log)(void *context, uint32_t level, const char *text, size_t size);

  /* Looks up an interface by a NUL-terminated id such as "backworks.metrics/1"; an incompatible change raises the
   * number. Returns a constant structure, valid as long as this one, or NULL if the host does not have it. Never NULL
   * itself. [any-thread, from the call to init until shutdown returns] */
  const void *(*get_extension)(void *context, const char *id);
} backworks_host;

/* One request. Allocated by the host; this structure and everything it points to is borrowed for the call. A plugin
 * must copy whatever it needs afterwards. */
typedef struct backworks_request {
  uint32_t struct_size; /* bytes of this structure that the host filled */
  uint32_t reserved;    /* 0 */

  /* The endpoint, as written in the configuration ("/api/weather/{station}") or as the caller named it. UTF-8. Never
   * NULL, even if the size is 0. */
  const char *endpoint;
  size_t endpoint_size;

  /* The method, in upper case ("GET"). Never NULL, even if the size is 0. */
  const char *method;
  size_t method_size;

  /* The request's data: any bytes. Over HTTP, the request as JSON, or its body. Never NULL, even if the size is 0. */
  const char *data;
  size_t data_size;

  /* Nanoseconds left for this call when it starts, or 0 for no limit. The caller does not wait longer than that, so a
   * plugin that cannot finish in time may return BACKWORKS_DEADLINE_EXCEEDED early. */
  uint64_t time_left_ns;

  /* The W3C Trace Context (https://www.w3.org/TR/trace-context/) of the call: the values of the headers `traceparent`
   * and `tracestate`, or NULL and 0 if absent. */
  const char *traceparent;
  size_t traceparent_size;
  const char *tracestate;
  size_t tracestate_size;
} backworks_request;

/* One response, or one error message. Allocated by the host, which sets struct_size and zeroes the rest; the plugin
 * fills it in. The host copies what it needs, then calls backworks_plugin_free_string(data, size) exactly once if data
 * is not NULL, whatever code was returned. The host checks every field and every size, and rejects a response above
 * 1 GiB.
 *
 *   returned   data      size   means
 *   OK         not NULL  any    the response; size 0 is an empty response
 *   OK         NULL      0      "not mine": no response (None in Python, 404 over HTTP)
 *   not OK     not NULL  any    the error message, UTF-8
 *   not OK     NULL      0      an error without a message
 *   any        NULL      not 0  a violation of the ABI, which the host reports */
typedef struct backworks_response {
  uint32_t struct_size; /* bytes of this structure that the host allocated */

  /* The HTTP status of the response, 200 to 599, or 0 for the default status of the code. */
  uint32_t http_status;

  /* The bytes, allocated by the library and owned by the host until it calls backworks_plugin_free_string. */
  char *data;
  size_t size;

  /* The media type of data, or NULL for the host's default (application/json over HTTP). Visible ASCII and spaces.
   * Must stay valid until backworks_plugin_free_string returns: static, or in the same allocation as data. */
  const char *content_type;
  size_t content_type_size;

  /* Additional header fields, or NULL: field lines as in RFC 9112 section 5, each "Name: value" and ended by CR LF.
   * Valid for as long as content_type. The host rejects fields that frame the message, which only it may set
   * (Connection, Content-Length, Content-Type, Transfer-Encoding and the like). */
  const char *headers;
  size_t headers_size;
} backworks_response;

/* Required. Returns the BACKWORKS_ABI_VERSION that the library was compiled with. The host calls this function first,
 * and no other if it does not know the number. [any-thread, loaded] */
BACKWORKS_EXPORT uint32_t backworks_plugin_abi_version(void);

/* Required. Returns the plugin's name: 1 to 64 characters of [a-z0-9._-], the first a letter or a digit, in
 * NUL-terminated static memory. Must equal the manifest's "name". [any-thread, loaded] */
BACKWORKS_EXPORT const char *backworks_plugin_name(void);

/* Required. Returns the plugin's version as in https://semver.org ("1.2.0"), in NUL-terminated static memory. Must
 * equal the manifest's "version". [any-thread, loaded] */
BACKWORKS_EXPORT const char *backworks_plugin_version(void);

/* Required. Creates an instance. `config_json` is `config_size` bytes of JSON (an object; "{}" if nothing is
 * configured), borrowed for the call. On success, returns BACKWORKS_OK and stores a non-NULL pointer in *out. On
 * failure, returns another code, leaves *out NULL, and may put a message in *error, which must be freed like any
 * response. May be called again while other instances run. [one-thread, loaded]
 *
 * Rationale: the instance is an out parameter and the message a response, because a constructor that returns NULL
 * cannot give a reason, and a message in static memory has no clear owner. */
BACKWORKS_EXPORT int32_t backworks_plugin_init(const backworks_host *host, const char *config_json, size_t config_size,
                                               backworks_plugin **out, backworks_response *error);

/* Required. Handles one request; see backworks_response for what to return. This is the hot path.
 * [any-thread, running, concurrent] */
BACKWORKS_EXPORT int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin,
                                                                const backworks_request *request,
                                                                backworks_response *response);

/* Required. Frees memory that this library returned in a backworks_response; the host frees nothing itself. `size` is
 * the size that was returned with it. (NULL, 0) is allowed and does nothing. May be called after the shutdown of the
 * instance that returned it. [any-thread, loaded] */
BACKWORKS_EXPORT void backworks_plugin_free_string(char *data, size_t size);

/* Required. Ends an instance. Called exactly once, after the last call to the instance has returned. Stops the threads
 * that the instance started. The instance no longer exists afterwards, whatever code is returned; a code other than
 * BACKWORKS_OK is only logged. [one-thread, running, serial] */
BACKWORKS_EXPORT int32_t backworks_plugin_shutdown(backworks_plugin *plugin);

/* Optional. Returns one sentence about the plugin, in NUL-terminated static memory. [any-thread, loaded] */
BACKWORKS_EXPORT const char *backworks_plugin_description(void);

/* Optional. Reports whether the instance can do its work: BACKWORKS_OK, or another code. May put a human-readable text
 * in `response` in either case. Must return within a second. [any-thread, running, concurrent] */
BACKWORKS_EXPORT int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response);

/* Optional. Gives the instance a new configuration, with the same arguments as init. On failure, the instance keeps the
 * old one. [any-thread, running, serial] */
BACKWORKS_EXPORT int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config_json,
                                                      size_t config_size, backworks_response *error);

/* The manifest: a description that the host reads from the file without running any of its code. It is at the start of
 * a dedicated section, named ".bworks" (ELF, PE) or "__DATA,__bworks" (Mach-O): this structure in the byte order of the
 * platform, followed by `size` bytes of JSON, one object, at most 262,144 bytes:
 *
 *   name, version     required; equal to what the functions return
 *   abi               required; the BACKWORKS_ABI_VERSION of the library
 *   description, license      text
 *   authors                   list of text
 *   thread_safe               true (also if absent) or false: see [concurrent]
 *   config_schema             a JSON Schema (2020-12) of the configuration object; the host makes a text with
 *                             "format": "path" absolute, relative to the directory of the configuration, and adds
 *                             absent values that have a "default". It evaluates a schema for a few seconds at most;
 *                             patterns have no lookaround and no backreferences
 *   permissions               list of text: what the plugin requests, for people and policies to review
 *   isolation                 list of one or more of "process", "thread" and "none": where the host may run the library
 *                             (if absent: anywhere). "process" is a worker process; "thread" and "none" are the host
 *                             process, in a worker thread or in the calling thread. ["process"] is for libraries that
 *                             must not share a process, such as those with a language runtime that a process can hold
 *                             only once. The host never opens such a library in its own process.
 *
 * Other members are kept and ignored. The manifest is optional; a plugin without one cannot be listed, checked or
 * configured without being loaded. */
typedef struct backworks_manifest_header {
  char magic[8];     /* "BWMANIF1", not NUL-terminated */
  uint32_t size;     /* bytes of JSON that follow this structure */
  uint32_t reserved; /* 0 */
} backworks_manifest_header;

/* [backworks:declarations:end] */

#ifdef __cplusplus
}
#endif

/* 4. Layout assertions
 *
 * Backworks runs on 64-bit platforms. On others, the compiler decides the layout. */
#if UINTPTR_MAX == 0xFFFFFFFFFFFFFFFFu
#ifdef __cplusplus
#define BACKWORKS_ASSERT_LAYOUT(what) static_assert(what, #what)
#else
#define BACKWORKS_ASSERT_LAYOUT(what) _Static_assert(what, #what)
#endif
BACKWORKS_ASSERT_LAYOUT(sizeof(backworks_host) == 32);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_host, abi_version) == 4);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_host, context) == 8);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_host, log) == 16);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_host, get_extension) == 24);
BACKWORKS_ASSERT_LAYOUT(sizeof(backworks_request) == 96);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, reserved) == 4);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, endpoint) == 8);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, endpoint_size) == 16);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, method) == 24);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, method_size) == 32);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, data) == 40);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, data_size) == 48);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, time_left_ns) == 56);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, traceparent) == 64);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, traceparent_size) == 72);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, tracestate) == 80);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_request, tracestate_size) == 88);
BACKWORKS_ASSERT_LAYOUT(sizeof(backworks_response) == 56);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_response, http_status) == 4);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_response, data) == 8);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_response, size) == 16);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_response, content_type) == 24);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_response, content_type_size) == 32);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_response, headers) == 40);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_response, headers_size) == 48);
BACKWORKS_ASSERT_LAYOUT(sizeof(backworks_manifest_header) == 16);
BACKWORKS_ASSERT_LAYOUT(offsetof(backworks_manifest_header, size) == 8);
#undef BACKWORKS_ASSERT_LAYOUT
#endif

/* 5. Helpers for plugins written in C and C++
 *
 * Not part of the ABI: plugins need not use them, and they may change at any time. To get only the declarations, define
 * BACKWORKS_NO_HELPERS before including this file. */
#ifndef BACKWORKS_NO_HELPERS

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define BACKWORKS_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define BACKWORKS_PRINTF(text, first)
#endif

#ifdef __cplusplus
#define BACKWORKS_EXTERN_C extern "C"
#else
#define BACKWORKS_EXTERN_C extern
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#pragma section(".bworks", read)
#define BACKWORKS_IN_MANIFEST_SECTION __declspec(allocate(".bworks"))
#elif defined(__APPLE__)
#define BACKWORKS_IN_MANIFEST_SECTION __attribute__((used, section("__DATA,__bworks")))
#else
#define BACKWORKS_IN_MANIFEST_SECTION __attribute__((used, section(".bworks")))
#endif

/* Identifies the plugin: BACKWORKS_PLUGIN(name, version, more members of the manifest...) defines
 * backworks_plugin_abi_version, _name and _version, and a manifest that matches them. `name` and `version` are string
 * literals; the rest is plain JSON, at least one member, without braces around it:
 *
 *   BACKWORKS_PLUGIN("echo", "1.0.0",
 *                    "description": "Returns what it receives",
 *                    "thread_safe": true)
 */
#define BACKWORKS_PLUGIN(name, version, ...)                                                     \
  BACKWORKS_PLUGIN_IDENTITY(name, version)                                                       \
  BACKWORKS_PLUGIN_MANIFEST("{\"abi\": 1, \"name\": \"" name "\", \"version\": \"" version "\", " #__VA_ARGS__ "}")

/* The two halves of BACKWORKS_PLUGIN, for plugins that supply their own manifest as a string literal of JSON. */
#define BACKWORKS_PLUGIN_IDENTITY(name, version)                                                 \
  uint32_t backworks_plugin_abi_version(void) { return BACKWORKS_ABI_VERSION; }                  \
  const char *backworks_plugin_name(void) { return name; }                                       \
  const char *backworks_plugin_version(void) { return version; }

#define BACKWORKS_PLUGIN_MANIFEST(json)                                                          \
  typedef struct backworks_manifest {                                                            \
    backworks_manifest_header header;                                                            \
    char text[sizeof(json)];                                                                     \
  } backworks_manifest;                                                                          \
  BACKWORKS_EXTERN_C BACKWORKS_EXPORT const backworks_manifest backworks_plugin_manifest;        \
  BACKWORKS_IN_MANIFEST_SECTION const backworks_manifest backworks_plugin_manifest = {           \
      {{'B', 'W', 'M', 'A', 'N', 'I', 'F', '1'}, (uint32_t)(sizeof(json) - 1), 0}, json};

/* Defines backworks_plugin_free_string as free(), for responses allocated with malloc, as by the helpers below. */
#define BACKWORKS_PLUGIN_FREE_STRING                                                             \
  void backworks_plugin_free_string(char *data, size_t size) {                                   \
    (void)size;                                                                                  \
    free(data);                                                                                  \
  }

/* Responds with `size` bytes allocated with malloc; their ownership passes to the response. Returns BACKWORKS_OK, or
 * BACKWORKS_RESOURCE_EXHAUSTED if data is NULL, so the caller need not check the allocation. */
static inline int32_t backworks_answer_owned(backworks_response *response, char *data, size_t size) {
  if (data == NULL) {
    return BACKWORKS_RESOURCE_EXHAUSTED;
  }
  response->data = data;
  response->size = size;
  return BACKWORKS_OK;
}

/* Responds with a copy of `size` bytes, which may be 0. Returns BACKWORKS_OK, or BACKWORKS_RESOURCE_EXHAUSTED. */
static inline int32_t backworks_answer(backworks_response *response, const void *data, size_t size) {
  char *copy = (char *)malloc(size > 0 ? size : 1);
  if (copy != NULL && size > 0) {
    memcpy(copy, data, size);
  }
  return backworks_answer_owned(response, copy, size);
}

/* Responds "not mine". Returns BACKWORKS_OK. */
static inline int32_t backworks_not_mine(backworks_response *response) {
  response->data = NULL;
  response->size = 0;
  return BACKWORKS_OK;
}

/* Sets the media type of the response; `type` is a NUL-terminated string in static memory. */
static inline void backworks_set_content_type(backworks_response *response, const char *type) {
  response->content_type = type;
  response->content_type_size = strlen(type);
}

/* Fails with `code` and a message formatted as by printf, truncated to 1,000 bytes. Returns `code`. */
BACKWORKS_PRINTF(3, 4)
static inline int32_t backworks_fail(backworks_response *response, int32_t code, const char *format, ...) {
  char text[1001];
  va_list arguments;
  int length;
  va_start(arguments, format);
  length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length >= (int)sizeof text) {
    /* Do not cut within a character: step back over UTF-8 continuation bytes, then over the byte that they continue. */
    length = (int)sizeof text - 1;
    if (((unsigned char)text[length - 1] & 0x80u) != 0) {
      while (length > 0 && ((unsigned char)text[length - 1] & 0xC0u) == 0x80u) {
        length--;
      }
      if (length > 0) {
        length--;
      }
    }
  }
  if (length > 0) {
    (void)backworks_answer(response, text, (size_t)length);
  }
  return code;
}

/* Writes one record to the host's log, formatted as by printf, truncated to 1,000 bytes. */
BACKWORKS_PRINTF(3, 4)
static inline void backworks_log(const backworks_host *host, uint32_t level, const char *format, ...) {
  char text[1001];
  va_list arguments;
  int length;
  va_start(arguments, format);
  length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length > 0) {
    host->log(host->context, level, text, length < (int)sizeof text ? (size_t)length : sizeof text - 1);
  }
}

/* Returns 1 if text given by pointer and size equals a NUL-terminated string, otherwise 0. */
static inline int backworks_equal(const char *text, size_t size, const char *literal) {
  return strlen(literal) == size && memcmp(text, literal, size) == 0;
}

#endif /* BACKWORKS_NO_HELPERS */

#endif /* BACKWORKS_PLUGIN_H */
