/* SPDX-License-Identifier: MIT */
#include "frame.h"

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

uint8_t *
put_u32(uint8_t *to, uint32_t number)
{
  int i;

  for (i = 0; i < 4; i++) {
    *to++ = (uint8_t)(number >> (8 * i));
  }
  return to;
}

uint8_t *
put_u64(uint8_t *to, uint64_t number)
{
  return put_u32(put_u32(to, (uint32_t)number), (uint32_t)(number >> 32));
}

static uint32_t
get_u32(const uint8_t *from)
{
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

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
  uint64_t low = take_u32(cursor);

  return low | (uint64_t)take_u32(cursor) << 32;
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

  return size == NO_TEXT ? none : take_text(cursor, size, MAX_TEXT);
}

void
header_write(uint8_t *to, uint8_t kind, uint64_t id, uint32_t size)
{
  to = put_u32(to, size);
  to = put_u32(to, kind);
  (void)put_u64(to, id);
}

bool
header_read(const uint8_t *from, struct frame *frame)
{
  const uint32_t size = get_u32(from), kind = get_u32(from + 4); /* the kind, and three bytes that are 0 */
  size_t i;

  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    if (kind == sizes[i].kind && size >= sizes[i].least && size <= sizes[i].most) {
      frame->kind = (uint8_t)kind;
      frame->id = (uint64_t)get_u32(from + 8) | (uint64_t)get_u32(from + 12) << 32;
      frame->payload.data = NULL;
      frame->payload.size = size;
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
