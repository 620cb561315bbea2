/* SPDX-License-Identifier: MIT
 *
 * backworks_plugin.h: the contract between Backworks and a compiled plugin.
 *
 * A plugin is a shared library that exports the symbols declared below. This file is the only place where the ABI is
 * written down: the Python host reads its declarations from here, the Rust SDK asserts its mirrors against the same
 * numbers, and a C or C++ plugin includes it.
 *
 * Contents
 *   1. The law of this file
 *   2. Words and tags
 *   3. Declarations: codes, levels, structures, functions      (plain C, read by tools as well as by compilers)
 *   4. Layout, asserted
 *   5. Helpers for plugins written in C and C++                (not part of the ABI)
 *
 * 1. The law of this file
 * -----------------------
 * - What has been released never changes: no layout, meaning, ownership, nullness or threading rule of a released
 *   structure, function or constant. A new version of one gets a new name.
 * - Structures grow at their end only, and only those that begin with struct_size. A field may be read only where
 *   struct_size covers it. The side that allocates a structure sets struct_size.
 * - New functions are optional symbols, looked up by name; none ever becomes required.
 * - BACKWORKS_ABI_VERSION rises only if all of this had to be broken. A host refuses a library whose
 *   backworks_plugin_abi_version() it does not know.
 * - No function throws, longjmps, exits, or lets a panic cross the boundary, in either direction.
 * - All text is UTF-8. Text that is passed as pointer and size is not NUL-terminated and may contain NUL bytes.
 *   `data` may be any bytes.
 * - A library leaves alone what its process has only one of: standard output, the working directory, the environment,
 *   the locale, the umask, signal handlers, the floating-point mode, and descriptors that it did not open. It is loaded
 *   within 100 ms; what takes longer belongs to init. After the last shutdown no thread, child or descriptor of it is
 *   left, unless its runtime cannot end without the process.
 *
 * 2. Words and tags
 * -----------------
 * host      the program that loads the library.
 * instance  what one successful backworks_plugin_init made: a configuration and a state. A library may have several.
 *
 * Each function names in brackets from which thread and in which state the host calls it:
 *
 * [any-thread]   from any thread, also from several at once, and from a thread that the library has not seen before.
 * [one-thread]   from any thread, but never while another call of this library so marked is running.
 * [loaded]       after the library was opened; no instance is needed.
 * [running]      with an instance, after its init returned BACKWORKS_OK and before its shutdown was called.
 * [serial]       no other call with the same instance is running.
 * [concurrent]   other [concurrent] calls with the same instance may be running, unless the manifest says
 *                "thread_safe": false: then the call is [serial] as well.
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
 * Between the two markers stands nothing but plain C, so that a parser without a preprocessor can read it.
 * [backworks:declarations:begin] */

/* The version of this contract. A library returns the value that it was compiled with. */
#define BACKWORKS_ABI_VERSION 1

/* What init, process_endpoint_data, health_check and reconfigure return: the canonical codes of gRPC, by number.
 * Any other number is taken as BACKWORKS_UNKNOWN. In parentheses the HTTP status that the host answers with, where the
 * plugin has not set one. */
typedef enum backworks_code {
  BACKWORKS_OK = 0,                   /* (200) */
  BACKWORKS_CANCELLED = 1,            /* (499) the caller gave up */
  BACKWORKS_UNKNOWN = 2,              /* (500) */
  BACKWORKS_INVALID_ARGUMENT = 3,     /* (400) the request is wrong, whatever the state of the plugin */
  BACKWORKS_DEADLINE_EXCEEDED = 4,    /* (504) */
  BACKWORKS_NOT_FOUND = 5,            /* (404) */
  BACKWORKS_ALREADY_EXISTS = 6,       /* (409) */
  BACKWORKS_PERMISSION_DENIED = 7,    /* (403) */
  BACKWORKS_RESOURCE_EXHAUSTED = 8,   /* (429) */
  BACKWORKS_FAILED_PRECONDITION = 9,  /* (400) the state of the plugin forbids it until somebody changes that state */
  BACKWORKS_ABORTED = 10,             /* (409) */
  BACKWORKS_OUT_OF_RANGE = 11,        /* (400) */
  BACKWORKS_UNIMPLEMENTED = 12,       /* (501) */
  BACKWORKS_INTERNAL = 13,            /* (500) the plugin has found itself broken */
  BACKWORKS_UNAVAILABLE = 14,         /* (503) try again later */
  BACKWORKS_DATA_LOSS = 15,           /* (500) */
  BACKWORKS_UNAUTHENTICATED = 16      /* (401) */
} backworks_code;

/* Levels of backworks_host.log: the numbers of Python's logging module. Other numbers are accepted and mean what they
 * mean there. */
typedef enum backworks_level {
  BACKWORKS_DEBUG = 10,
  BACKWORKS_INFO = 20,
  BACKWORKS_WARNING = 30,
  BACKWORKS_ERROR = 40,
  BACKWORKS_CRITICAL = 50
} backworks_level;

/* One instance. The library defines the structure, or casts; the host only hands the pointer back. */
typedef struct backworks_plugin backworks_plugin;

/* What the host offers to one instance. Allocated by the host; constant; valid from the call of init until that
 * instance's shutdown has returned (or until init has returned, if it failed). */
typedef struct backworks_host {
  uint32_t struct_size; /* bytes of this structure that the host filled */
  uint32_t abi_version; /* the BACKWORKS_ABI_VERSION of the host */

  /* Passed back as the first argument of the functions below. Opaque to the plugin. */
  void *context;

  /* Writes one record to the host's log, under this plugin's name. `text` is `size` bytes of UTF-8, borrowed for the
   * call; invalid UTF-8 is replaced. `level` is a backworks_level. Never NULL, never fails, may block for a moment.
   * [any-thread, from the call of init until shutdown returns] */
  void (*log)(void *context, uint32_t level, const char *text, size_t size);

  /* Looks up an interface by a NUL-terminated id such as "backworks.metrics/1"; the number rises on a break. Returns a
   * constant structure, valid as long as this one, or NULL where the host does not have it. Never NULL itself.
   * [any-thread, from the call of init until shutdown returns] */
  const void *(*get_extension)(void *context, const char *id);
} backworks_host;

/* One request. Allocated by the host; this structure and everything it points at is borrowed for the call: a plugin
 * that needs a part of it afterwards copies it. */
typedef struct backworks_request {
  uint32_t struct_size; /* bytes of this structure that the host filled */
  uint32_t reserved;    /* 0 */

  /* The endpoint, as the configuration writes it ("/api/weather/{station}") or as the caller named it. UTF-8. Never
   * NULL, also where the size is 0. */
  const char *endpoint;
  size_t endpoint_size;

  /* The method, in upper case ("GET"). Never NULL, also where the size is 0. */
  const char *method;
  size_t method_size;

  /* The request's data: any bytes. Over HTTP the JSON of the request, or its body. Never NULL, also where the size is
   * 0. */
  const char *data;
  size_t data_size;

  /* Nanoseconds that are left for this call when it starts, or 0 for no limit. A plugin that will not make it may
   * return BACKWORKS_DEADLINE_EXCEEDED early; the caller does not wait for longer. */
  uint64_t time_left_ns;

  /* The W3C Trace Context (https://www.w3.org/TR/trace-context/) of the call: the values of the headers `traceparent`
   * and `tracestate`, or NULL and 0 where there is none. */
  const char *traceparent;
  size_t traceparent_size;
  const char *tracestate;
  size_t tracestate_size;
} backworks_request;

/* One answer, or one error message. Allocated by the host, which sets struct_size and zeroes the rest; the plugin
 * fills it in. The host copies what it needs, then calls backworks_plugin_free_string(data, size) exactly once if data
 * is not NULL, whatever code was returned. The host checks every field and bounds every size (an answer above 1 GiB is
 * refused).
 *
 *   returned   data      size   means
 *   OK         not NULL  any    the answer; size 0 is an empty answer
 *   OK         NULL      0      "not mine": no answer (None in Python, 404 over HTTP)
 *   not OK     not NULL  any    the message of the error, UTF-8
 *   not OK     NULL      0      an error without a message
 *   any        NULL      not 0  a broken plugin; the host reports it as such */
typedef struct backworks_response {
  uint32_t struct_size; /* bytes of this structure that the host can take */

  /* The HTTP status to answer with, 200 to 599, or 0 for the usual one of the code. */
  uint32_t http_status;

  /* The bytes, allocated by the library and given to the host until it calls backworks_plugin_free_string. */
  char *data;
  size_t size;

  /* The media type of data, or NULL for the host's default (application/json over HTTP). Visible ASCII and spaces.
   * Borrowed until backworks_plugin_free_string returns: static, or inside the same allocation as data. */
  const char *content_type;
  size_t content_type_size;

  /* More header fields, or NULL: field lines as in RFC 9112 section 5, each "Name: value" and ended by CR LF. Borrowed
   * in the same way. Fields that frame the message (Connection, Content-Length, Content-Type, Transfer-Encoding and
   * the like) are the host's and refused. */
  const char *headers;
  size_t headers_size;
} backworks_response;

/* Required. Returns the BACKWORKS_ABI_VERSION that the library was compiled with. The first function that is called;
 * if the host does not know the number, the last as well. [any-thread, loaded] */
BACKWORKS_EXPORT uint32_t backworks_plugin_abi_version(void);

/* Required. Returns the plugin's name: 1 to 64 characters of [a-z0-9._-], the first a letter or a digit, in
 * NUL-terminated static memory. Must equal the manifest's "name". [any-thread, loaded] */
BACKWORKS_EXPORT const char *backworks_plugin_name(void);

/* Required. Returns the plugin's version as in https://semver.org ("1.2.0"), in NUL-terminated static memory. Must
 * equal the manifest's "version". [any-thread, loaded] */
BACKWORKS_EXPORT const char *backworks_plugin_version(void);

/* Required. Makes an instance. `config_json` is `config_size` bytes of JSON (an object; "{}" where nothing is
 * configured), borrowed for the call. On success returns BACKWORKS_OK and stores a pointer that is not NULL in *out;
 * on failure returns another code, leaves *out NULL, and may put a message in *error, which has to be freed like any
 * answer. May be called again while other instances run. [one-thread, loaded]
 *
 * Rationale: the instance is an out parameter and the message a response, because a constructor that returns NULL
 * cannot say why, and a message in static memory belongs to nobody. */
BACKWORKS_EXPORT int32_t backworks_plugin_init(const backworks_host *host, const char *config_json, size_t config_size,
                                               backworks_plugin **out, backworks_response *error);

/* Required. Answers one request; see backworks_response for what to return. The hot path.
 * [any-thread, running, concurrent] */
BACKWORKS_EXPORT int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin,
                                                                const backworks_request *request,
                                                                backworks_response *response);

/* Required. Frees what this library gave out in a backworks_response; the host frees nothing itself. `size` is the
 * size that was given out with it. (NULL, 0) is allowed and does nothing. May be called after the shutdown of the
 * instance that made the answer. [any-thread, loaded] */
BACKWORKS_EXPORT void backworks_plugin_free_string(char *data, size_t size);

/* Required. Ends an instance: after its last call has returned, exactly once. Stops the threads that the instance
 * started. The instance is gone afterwards, whatever code is returned; a code other than BACKWORKS_OK is only logged.
 * [one-thread, running, serial] */
BACKWORKS_EXPORT int32_t backworks_plugin_shutdown(backworks_plugin *plugin);

/* Optional. Returns one sentence about the plugin, in NUL-terminated static memory. [any-thread, loaded] */
BACKWORKS_EXPORT const char *backworks_plugin_description(void);

/* Optional. Tells whether the instance can do its work: BACKWORKS_OK, or a code with a message. May put a text for
 * people in `response` in either case. Returns soon (within a second). [any-thread, running, concurrent] */
BACKWORKS_EXPORT int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response);

/* Optional. Gives the instance another configuration, with the arguments of init. On failure the instance goes on with
 * the old one. [any-thread, running, serial] */
BACKWORKS_EXPORT int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config_json,
                                                      size_t config_size, backworks_response *error);

/* The manifest: a description that can be read from the file without running any of its code. It stands at the start
 * of a section of its own, named ".bworks" (ELF, PE) or "__DATA,__bworks" (Mach-O): this structure in the byte order
 * of the platform, followed by `size` bytes of JSON, one object, at most 262,144 bytes:
 *
 *   name, version     required; equal to what the functions return
 *   abi               required; the BACKWORKS_ABI_VERSION of the library
 *   description, license      text
 *   authors                   list of text
 *   thread_safe               true (also if absent) or false: see [concurrent]
 *   config_schema             a JSON Schema (2020-12) of the configuration object; a text whose schema says
 *                             "format": "path" is made absolute by the host, from the directory of the configuration
 *   permissions               list of text: what the plugin asks for, for people and for policies to read
 *   isolation                 list of one or more of "process", "thread" and "none": where alone the host may run the
 *                             library (if absent: anywhere). "process" is a process of its own; "thread" and "none"
 *                             are the host's process, in threads that the host keeps for it or in the caller's.
 *                             ["process"] is for what must not share a process, such as a language runtime that
 *                             cannot be there twice. The host never opens such a library in its own process.
 *
 * Other members are kept and ignored. The manifest is optional; a plugin without one cannot be listed, checked or
 * configured without being run. */
typedef struct backworks_manifest_header {
  char magic[8];     /* "BWMANIF1", not NUL-terminated */
  uint32_t size;     /* bytes of JSON that follow this structure */
  uint32_t reserved; /* 0 */
} backworks_manifest_header;

/* [backworks:declarations:end] */

#ifdef __cplusplus
}
#endif

/* 4. Layout, asserted
 *
 * Backworks runs on 64-bit platforms. On others the structures are as the compiler lays them out. */
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
 * Not part of the ABI: a plugin may do without them, and they may be improved at any time. A program that only wants
 * the declarations defines BACKWORKS_NO_HELPERS first. */
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

/* Says who the plugin is, once: BACKWORKS_PLUGIN(name, version, more members of the manifest...) defines
 * backworks_plugin_abi_version, _name and _version, and the manifest that must agree with them. `name` and `version`
 * are string literals; what follows is JSON as it stands, at least one member, without braces around it:
 *
 *   BACKWORKS_PLUGIN("echo", "1.0.0",
 *                    "description": "Answers what it was sent",
 *                    "thread_safe": true)
 */
#define BACKWORKS_PLUGIN(name, version, ...)                                                     \
  BACKWORKS_PLUGIN_IDENTITY(name, version)                                                       \
  BACKWORKS_PLUGIN_MANIFEST("{\"abi\": 1, \"name\": \"" name "\", \"version\": \"" version "\", " #__VA_ARGS__ "}")

/* The two halves of BACKWORKS_PLUGIN, for who has a manifest of his own: a string literal that holds a JSON object. */
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

/* Defines backworks_plugin_free_string as free(), for a plugin that answers from malloc, as the helpers below do. */
#define BACKWORKS_PLUGIN_FREE_STRING                                                             \
  void backworks_plugin_free_string(char *data, size_t size) {                                   \
    (void)size;                                                                                  \
    free(data);                                                                                  \
  }

/* Answers with `size` bytes that came from malloc, and gives them away. Returns BACKWORKS_OK, or, where data is NULL
 * (so that an allocation need not be checked twice), BACKWORKS_RESOURCE_EXHAUSTED. */
static inline int32_t backworks_answer_owned(backworks_response *response, char *data, size_t size) {
  if (data == NULL) {
    return BACKWORKS_RESOURCE_EXHAUSTED;
  }
  response->data = data;
  response->size = size;
  return BACKWORKS_OK;
}

/* Answers with a copy of `size` bytes, which may be 0. Returns BACKWORKS_OK, or BACKWORKS_RESOURCE_EXHAUSTED. */
static inline int32_t backworks_answer(backworks_response *response, const void *data, size_t size) {
  char *copy = (char *)malloc(size > 0 ? size : 1);
  if (copy != NULL && size > 0) {
    memcpy(copy, data, size);
  }
  return backworks_answer_owned(response, copy, size);
}

/* Answers "not mine". */
static inline int32_t backworks_not_mine(backworks_response *response) {
  response->data = NULL;
  response->size = 0;
  return BACKWORKS_OK;
}

/* Says the media type of the answer; `type` is a NUL-terminated string in static memory. */
static inline void backworks_set_content_type(backworks_response *response, const char *type) {
  response->content_type = type;
  response->content_type_size = strlen(type);
}

/* Fails with `code` and a message made as by printf; a message above 1,000 bytes is cut. Returns `code`. */
BACKWORKS_PRINTF(3, 4)
static inline int32_t backworks_fail(backworks_response *response, int32_t code, const char *format, ...) {
  char text[1001];
  va_list arguments;
  int length;
  va_start(arguments, format);
  length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length >= (int)sizeof text) {
    /* Not inside of a character: step back over UTF-8 continuation bytes, then over the byte that they continue. */
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

/* Writes one record to the host's log, made as by printf; cut above 1,000 bytes. */
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

/* Whether text given by pointer and size equals a NUL-terminated string. */
static inline int backworks_equal(const char *text, size_t size, const char *literal) {
  return strlen(literal) == size && memcmp(text, literal, size) == 0;
}

#endif /* BACKWORKS_NO_HELPERS */

#endif /* BACKWORKS_PLUGIN_H */
