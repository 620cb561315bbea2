/* SPDX-License-Identifier: MIT
 *
 * Frames as bytes: what PROTOCOL.md says, without any input or output. Nothing is read that was not counted before. */
#ifndef BACKWORKS_WORKER_FRAME_H
#define BACKWORKS_WORKER_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/* Bytes that belong to somebody else. */
struct bytes {
  const uint8_t *data;
  size_t size;
};

struct frame {
  uint8_t kind;
  uint64_t id;
  struct bytes payload;
};

/* START. */
struct start {
  uint32_t protocol;
  uint32_t flags;
  uint64_t memory; /* 0: no limit; so are the next three */
  uint64_t cpu_seconds;
  uint64_t files;
  uint64_t processes;
  uint64_t max_output; /* never above MAX_DATA, never 0 */
  struct bytes path;
  struct bytes config;
};

/* CALL. The data of traceparent and tracestate is NULL where there is none. */
struct call {
  uint64_t time_left_ns;
  struct bytes endpoint;
  struct bytes method;
  struct bytes traceparent;
  struct bytes tracestate;
  struct bytes data;
};

/* Writes a number at `to` and returns where the next one goes. */
uint8_t *put_u32(uint8_t *to, uint32_t number);
uint8_t *put_u64(uint8_t *to, uint64_t number);

/* Writes the HEADER_SIZE bytes of a frame's header. */
void header_write(uint8_t *to, uint8_t kind, uint64_t id, uint32_t size);

/* Reads the HEADER_SIZE bytes of a header into `frame`, whose payload then has a size and no data. Returns false if no
 * frame begins like this: an unknown kind, a size that the kind cannot have, or bytes that must be 0 and are not. */
bool header_read(const uint8_t *from, struct frame *frame);

/* Reads the version of the protocol that a START speaks; what follows it is read only if that is ours. Returns false if
 * the payload is too short for it. */
bool start_protocol(struct bytes payload, uint32_t *protocol);

/* Read a whole payload. Return false if it is not exactly what the kind says; `start` and `call` then say nothing. */
bool start_read(struct bytes payload, struct start *start);
bool call_read(struct bytes payload, struct call *call);

#endif
