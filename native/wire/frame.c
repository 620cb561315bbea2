/* SPDX-License-Identifier: MIT */
#include "frame.h"

#include <string.h>

/* A payload that is being read. Once it turned out too short, `whole` is false and all that comes of it is 0. */
struct cursor {
  const uint8_t *at;
  size_t left;
  bool whole;
};

static const struct {
  uint8_t kind;
  uint64_t least;
  uint64_t most;
} sizes[] = {
  { KIND_START, 4, MAX_PAYLOAD }, /* enough to see which protocol is spoken */
  { KIND_CALL, CALL_SIZE, MAX_PAYLOAD },
  { KIND_HEALTH, 0, 0 },
  { KIND_RECONFIGURE, 0, MAX_PAYLOAD },
  { KIND_SHUTDOWN, 0, 0 },
};

static struct bytes
take(struct cursor *cursor, uint64_t size)
{
  struct bytes taken = { cursor->at, 0 };

  if (!cursor->whole || size > cursor->left) {
    cursor->whole = false;
    return taken;
  }
  taken.size = (size_t)size;
  cursor->at += taken.size;
  cursor->left -= taken.size;
  return taken;
}

static uint32_t
take_u32(struct cursor *cursor)
{
  struct bytes taken = take(cursor, 4);

  return taken.size == 4 ? get_u32(taken.data) : 0;
}

static uint64_t
take_u64(struct cursor *cursor)
{
  struct bytes taken = take(cursor, 8);

  return taken.size == 8 ? get_u64(taken.data) : 0;
}

/* Takes a text of at most `most` bytes. */
static struct bytes
take_text(struct cursor *cursor, uint64_t size, uint64_t most)
{
  if (size > most) {
    cursor->whole = false;
  }
  return take(cursor, size);
}

/* Takes a text that may be missing. */
static struct bytes
take_optional(struct cursor *cursor, uint32_t size)
{
  static const struct bytes none = { NULL, 0 };

  return size == ABSENT_TEXT ? none : take_text(cursor, size, MAX_TEXT);
}

void
header_write(uint8_t *to, uint8_t kind, uint64_t id, uint32_t size)
{
  to = put_u32(to, size);
  to = put_u32(to, kind);
  (void)put_u64(to, id);
}

struct header
header_split(const uint8_t *from)
{
  return (struct header){ get_u32(from), get_u32(from + 4), get_u64(from + 8) };
}

bool
header_read(const uint8_t *from, struct frame *frame)
{
  const struct header header = header_split(from);
  size_t i;

  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    if (header.kind == sizes[i].kind && header.size >= sizes[i].least && header.size <= sizes[i].most) {
      frame->kind = sizes[i].kind;
      frame->id = header.id;
      frame->payload.data = NULL;
      frame->payload.size = header.size;
      return true;
    }
  }
  return false;
}

bool
start_protocol(struct bytes payload, uint32_t *protocol)
{
  struct cursor cursor = { payload.data, payload.size, true };

  *protocol = take_u32(&cursor);
  return cursor.whole;
}

bool
start_read(struct bytes payload, struct start *start)
{
  struct cursor cursor = { payload.data, payload.size, true };
  uint32_t path_size, config_size;

  start->protocol = take_u32(&cursor);
  start->flags = take_u32(&cursor);
  start->memory = take_u64(&cursor);
  start->cpu_seconds = take_u64(&cursor);
  start->files = take_u64(&cursor);
  start->processes = take_u64(&cursor);
  start->max_output = take_u64(&cursor);
  path_size = take_u32(&cursor);
  config_size = take_u32(&cursor);
  start->path = take_text(&cursor, path_size, MAX_PATH_SIZE);
  start->config = take(&cursor, config_size);
  if (start->max_output == 0 || start->max_output > MAX_DATA) {
    start->max_output = MAX_DATA;
  }
  return cursor.whole && cursor.left == 0 && start->path.size > 0;
}

bool
call_read(struct bytes payload, struct call *call)
{
  struct cursor cursor = { payload.data, payload.size, true };
  uint32_t endpoint_size, method_size, traceparent_size, tracestate_size;
  uint64_t data_size;

  call->time_left_ns = take_u64(&cursor);
  endpoint_size = take_u32(&cursor);
  method_size = take_u32(&cursor);
  traceparent_size = take_u32(&cursor);
  tracestate_size = take_u32(&cursor);
  data_size = take_u64(&cursor);
  call->endpoint = take_text(&cursor, endpoint_size, MAX_TEXT);
  call->method = take_text(&cursor, method_size, MAX_TEXT);
  call->traceparent = take_optional(&cursor, traceparent_size);
  call->tracestate = take_optional(&cursor, tracestate_size);
  call->data = take_text(&cursor, data_size, MAX_DATA);
  return cursor.whole && cursor.left == 0;
}

static uint32_t
optional_size(struct bytes text)
{
  return text.data != NULL ? (uint32_t)text.size : ABSENT_TEXT;
}

static uint8_t *
put_text(uint8_t *to, struct bytes text)
{
  if (text.size > 0) {
    memcpy(to, text.data, text.size);
  }
  return to + text.size;
}

uint64_t
call_size(const struct call *call)
{
  return CALL_SIZE + call->endpoint.size + call->method.size + call->traceparent.size + call->tracestate.size +
         call->data.size;
}

uint8_t *
call_write(uint8_t *to, const struct call *call)
{
  to = put_u64(to, call->time_left_ns);
  to = put_u32(to, (uint32_t)call->endpoint.size);
  to = put_u32(to, (uint32_t)call->method.size);
  to = put_u32(to, optional_size(call->traceparent));
  to = put_u32(to, optional_size(call->tracestate));
  to = put_u64(to, call->data.size);
  to = put_text(put_text(to, call->endpoint), call->method);
  return put_text(put_text(to, call->traceparent), call->tracestate);
}

void
reply_write(uint8_t *to, const struct reply *reply)
{
  to = put_u32(to, (uint32_t)reply->code);
  to = put_u32(to, reply->status);
  to = put_u32(to, reply->type_size);
  to = put_u32(to, reply->headers_size);
  to = put_u64(to, reply->data_size);
  to = put_u32(to, reply->broken);
  (void)put_u32(to, reply->zero);
}

struct reply
reply_split(const uint8_t *from)
{
  return (struct reply){
    .code = (int32_t)get_u32(from),
    .status = get_u32(from + 4),
    .type_size = get_u32(from + 8),
    .headers_size = get_u32(from + 12),
    .data_size = get_u64(from + 16),
    .broken = get_u32(from + 24),
    .zero = get_u32(from + 28),
  };
}
