/* SPDX-License-Identifier: MIT
 *
 * The types that shim.c and exports.go pass to each other. */
#ifndef BACKWORKS_GO_SHIM_H
#define BACKWORKS_GO_SHIM_H

#include "backworks_plugin.h"

/* Borrowed for the call. */
typedef struct backworks_go_bytes {
  char *data;
  size_t size;
} backworks_go_bytes;

typedef struct backworks_go_request {
  backworks_go_bytes endpoint, method, data, traceparent, tracestate;
  uint64_t time_left_ns;
} backworks_go_request;

/* `data` is from malloc; its ownership passes to the receiver. */
typedef struct backworks_go_answer {
  int32_t code;
  uint32_t http_status;
  char *data;
  size_t size, content_type_size, headers_size;
} backworks_go_answer;

static inline void backworks_go_log(const backworks_host *host, uint32_t level, const char *text, size_t size) {
  host->log(host->context, level, text, size);
}

#endif
