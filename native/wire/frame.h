/* SPDX-License-Identifier: MIT
 *
 * Reads and writes the frames of PROTOCOL.md in memory, without input or output. Checks sizes before it reads bytes.
 *
 * Both sides use this file. The worker reads START and CALL and writes REPLY; the host writes CALL and reads REPLY. */
#ifndef BACKWORKS_WIRE_FRAME_H
#define BACKWORKS_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/* Borrowed bytes. */
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
  uint64_t memory; /* 0: no limit, also for the next three */
  uint64_t cpu_seconds;
  uint64_t files;
  uint64_t processes;
  uint64_t max_output; /* never above MAX_DATA, never 0 */
  struct bytes path;
  struct bytes config;
};

/* CALL. traceparent.data and tracestate.data are NULL if the request has none. */
struct call {
  uint64_t time_left_ns;
  struct bytes endpoint;
  struct bytes method;
  struct bytes traceparent;
  struct bytes tracestate;
  struct bytes data;
};

/* A header as it was sent, not validated: the kind includes the three bytes that must be 0. */
struct header {
  uint32_t size;
  uint32_t kind;
  uint64_t id;
};

/* The fixed part of a REPLY as it was sent, not validated. */
struct reply {
  int32_t code;
  uint32_t status;
  uint32_t type_size;    /* or ABSENT_TEXT */
  uint32_t headers_size; /* or ABSENT_TEXT */
  uint64_t data_size;    /* or ABSENT_DATA */
  uint32_t broken;       /* enum broken */
  uint32_t zero;
};

/* Write a number at `to` and return the address after it. Compilers turn this into one store. */
static inline uint8_t *
put_u32(uint8_t *to, uint32_t number)
{
  to[0] = (uint8_t)number;
  to[1] = (uint8_t)(number >> 8);
  to[2] = (uint8_t)(number >> 16);
  to[3] = (uint8_t)(number >> 24);
  return to + 4;
}

static inline uint8_t *
put_u64(uint8_t *to, uint64_t number)
{
  return put_u32(put_u32(to, (uint32_t)number), (uint32_t)(number >> 32));
}

/* Read a number. Compilers turn this into one load. */
static inline uint32_t
get_u32(const uint8_t *from)
{
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static inline uint64_t
get_u64(const uint8_t *from)
{
  return (uint64_t)get_u32(from) | (uint64_t)get_u32(from + 4) << 32;
}

/* Writes the HEADER_SIZE bytes of a frame's header. */
void header_write(uint8_t *to, uint8_t kind, uint64_t id, uint32_t size);

/* Reads the HEADER_SIZE bytes of a header without validating it. */
struct header header_split(const uint8_t *from);

/* Reads the HEADER_SIZE bytes of a header into `frame`, whose payload then has a size but no data. Returns false if the
 * header is invalid: an unknown kind, a size that the kind does not allow, or a nonzero byte that must be 0. */
bool header_read(const uint8_t *from, struct frame *frame);

/* Reads the protocol version of a START; the rest may only be read if the version is supported. Returns false if the
 * payload is too short. */
bool start_protocol(struct bytes payload, uint32_t *protocol);

/* Read a payload. Return false if its size is not exactly as specified; `start` and `call` are then undefined. */
bool start_read(struct bytes payload, struct start *start);
bool call_read(struct bytes payload, struct call *call);

/* Returns the size of a CALL's payload. */
uint64_t call_size(const struct call *call);

/* Writes a CALL's payload except its data, and returns the address for the data. */
uint8_t *call_write(uint8_t *to, const struct call *call);

/* Write and read the REPLY_SIZE bytes at the beginning of a REPLY. */
void reply_write(uint8_t *to, const struct reply *reply);
struct reply reply_split(const uint8_t *from);

#endif
