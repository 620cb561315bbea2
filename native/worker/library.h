/* SPDX-License-Identifier: MIT
 *
 * The plugin's library: its functions, and the reading of its responses. */
#ifndef BACKWORKS_WORKER_LIBRARY_H
#define BACKWORKS_WORKER_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKWORKS_NO_HELPERS
#include "backworks_plugin.h"
#include "../wire/frame.h"

/* The functions that a library exports; the last three are optional and may be NULL. */
struct library {
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

/* Bits of READY. */
enum optional { OPTIONAL_DESCRIPTION = 1, OPTIONAL_HEALTH_CHECK = 2, OPTIONAL_RECONFIGURE = 4 };

/* Opens the library at a NUL-terminated path. Returns 0, or the stage that failed, with the reason in `text`: the
 * linker's message, or the names of the missing symbols, one per line. */
uint32_t library_open(struct library *library, const char *path, char *text, size_t size);

/* Returns which of the optional functions it has. */
uint32_t library_optional(const struct library *library);

/* Returns a static text of the library, cut at MAX_TEXT bytes. The data is NULL if the pointer is. */
struct bytes library_text(const char *text);

/* One response of the plugin. */
struct answer {
  backworks_response response; /* filled by the plugin; not read again after answer_take */
  char *given;                 /* the argument of free_string, and its size */
  size_t given_size;
  enum broken broken; /* the violated rule, if any */
  uint8_t head[REPLY_SIZE];    /* the fixed part of a REPLY */
  struct bytes parts[4];       /* a complete REPLY: head, content type, headers, data */
  const struct library *library;
};

/* Zeroes the response. */
void answer_prepare(struct answer *answer, const struct library *library);

/* Reads the response once, checks it like backworks/ffi/contract.py, and sets the parts. The memory remains allocated
 * until answer_free. */
void answer_take(struct answer *answer, int32_t code, uint64_t max_output);

/* Lets the plugin free its memory; `answer` is a struct answer. Must be called once. */
void answer_free(void *answer);

#endif
