/* SPDX-License-Identifier: MIT
 *
 * The plugin's library: its functions, and how its answers are taken. */
#ifndef BACKWORKS_WORKER_LIBRARY_H
#define BACKWORKS_WORKER_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKWORKS_NO_HELPERS
#include "backworks_plugin.h"
#include "../wire/frame.h"

/* What a library exports; the last three are NULL where it does not. */
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

/* Opens the library at a path that ends with a NUL. Returns 0, or the stage that failed, with the reason in `text`:
 * the linker's words, or the names of the missing symbols, a line each. */
uint32_t library_open(struct library *library, const char *path, char *text, size_t size);

/* Which of the optional functions it has. */
uint32_t library_optional(const struct library *library);

/* A text that the library keeps: at most MAX_TEXT bytes of it. The data is NULL where the pointer is. */
struct bytes library_text(const char *text);

/* One answer of the plugin. */
struct answer {
  backworks_response response; /* for the plugin to fill; not read again after answer_take */
  char *given;                 /* what free_string takes, and its size */
  size_t given_size;
  enum broken broken; /* which rule, if any */
  uint8_t head[REPLY_SIZE];    /* the fixed part of a REPLY */
  struct bytes parts[4];       /* a whole REPLY: head, content type, headers, data */
  const struct library *library;
};

/* Zeroes the response. */
void answer_prepare(struct answer *answer, const struct library *library);

/* Reads, once, what the plugin returned, checks it as backworks/ffi/contract.py does, and makes the parts. The memory
 * remains the plugin's until answer_free. */
void answer_take(struct answer *answer, int32_t code, uint64_t max_output);

/* Gives the plugin its memory back; `answer` is a struct answer. To be called once. */
void answer_free(void *answer);

#endif
