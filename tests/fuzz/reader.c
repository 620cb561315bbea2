/* The worker's reader under libFuzzer: pipes.c and frame.c over a pipe that is the fuzzer's input.
 *
 * Invariant: whatever the bytes, and however they are cut into reads, each receive gives the very frame that stands
 * there or an end; a payload that is accepted, written again from what was read of it, is the same bytes; and nothing
 * else is touched (the address sanitizer says so).
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -I native/worker tests/fuzz/reader.c native/worker/pipes.c \
 *         native/wire/frame.c -o build/reader && build/reader -max_total_time=60
 */
#include <stdlib.h>
#include <string.h>

#include "pipes.h"

#define MUST(what)                                                                                                   \
  do {                                                                                                               \
    if (!(what)) {                                                                                                   \
      abort();                                                                                                       \
    }                                                                                                                \
  } while (0)

/* Above this there is no memory, so that this path is walked too. */
#define MEMORY ((size_t)256 << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t input_size;
static size_t input_read;
static uint32_t pace; /* how the input is cut */

ptrdiff_t
platform_read(descriptor from, void *to, size_t size)
{
  size_t most = input_size - input_read;

  (void)from;
  MUST(size > 0);
  pace = pace * 1664525u + 1013904223u;
  if (pace >> 31 != 0 && most > 0) {
    most = 1 + (pace >> 8) % most;
  }
  if (most > size) {
    most = size;
  }
  memcpy(to, input + input_read, most);
  input_read += most;
  return (ptrdiff_t)most;
}

bool
platform_write(descriptor to, const struct bytes *parts, size_t count)
{
  (void)to;
  (void)parts;
  (void)count;
  return false;
}

void *
platform_pages(size_t size)
{
  return size <= MEMORY ? calloc(1, size) : NULL;
}

void
platform_free_pages(void *pages, size_t size)
{
  (void)size;
  free(pages);
}

static uint64_t
number(const uint8_t *from, int bytes)
{
  uint64_t value = 0;

  while (bytes-- > 0) {
    value = value << 8 | from[bytes];
  }
  return value;
}

/* Compares a text with where it has to stand, and steps over it. */
static const uint8_t *
compare(const uint8_t *at, const uint8_t *end, struct bytes text)
{
  MUST(text.size <= (size_t)(end - at));
  MUST(text.size == 0 || memcmp(at, text.data, text.size) == 0);
  return at + text.size;
}

static void
check_start(struct bytes payload)
{
  const uint8_t *end = payload.data + payload.size, *at = payload.data;
  struct start start;
  uint32_t protocol;

  MUST(start_protocol(payload, &protocol) && protocol == number(at, 4));
  if (start_read(payload, &start)) {
    MUST(start.path.size == number(at + 48, 4) && start.config.size == number(at + 52, 4));
    MUST(start.path.size > 0 && start.path.size <= MAX_PATH_SIZE);
    MUST(start.max_output > 0 && start.max_output <= MAX_DATA);
    MUST(start.memory == number(at + 8, 8) && start.processes == number(at + 32, 8));
    MUST(compare(compare(at + START_SIZE, end, start.path), end, start.config) == end);
  }
}

static void
check_call(struct bytes payload)
{
  const uint8_t *end = payload.data + payload.size, *at = payload.data;
  struct call call;
  uint8_t *again;

  if (call_read(payload, &call)) {
    MUST(call_size(&call) == payload.size);
    again = malloc(payload.size);
    MUST(again != NULL && call_write(again, &call) == again + payload.size - call.data.size);
    MUST(memcmp(again, payload.data, payload.size - call.data.size) == 0);
    free(again);
    MUST(call.time_left_ns == number(at, 8));
    MUST(call.endpoint.size <= MAX_TEXT && call.method.size <= MAX_TEXT && call.data.size <= MAX_DATA);
    MUST((call.traceparent.data == NULL) == (number(at + 16, 4) == ABSENT_TEXT));
    MUST((call.tracestate.data == NULL) == (number(at + 20, 4) == ABSENT_TEXT));
    at = compare(compare(at + CALL_SIZE, end, call.endpoint), end, call.method);
    at = compare(compare(at, end, call.traceparent), end, call.tracestate);
    MUST(compare(at, end, call.data) == end);
  }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static struct pipes pipes;
  size_t at = 0;

  if (size < 4) {
    return 0;
  }
  pace = (uint32_t)number(data, 4);
  input = data + 4;
  input_size = size - 4;
  input_read = 0;
  memset(&pipes, 0, sizeof pipes);
  for (;;) {
    struct frame frame;
    enum received received = pipes_receive(&pipes, &frame);
    uint64_t claimed = at + 16 <= input_size ? number(input + at, 4) : 0;

    if (received == RECEIVED_END) {
      MUST(at + 16 > input_size || claimed > input_size - at - 16);
      break;
    }
    MUST(at + 16 <= input_size);
    if (received == RECEIVED_BROKEN) {
      MUST(!header_read(input + at, &frame));
      break;
    }
    MUST(frame.kind == input[at + 4] && frame.id == number(input + at + 8, 8));
    MUST(claimed <= MAX_PAYLOAD && claimed <= input_size - at - 16);
    if (received == RECEIVED_HALF) {
      MUST(claimed > MEMORY / 2);
    } else {
      MUST(frame.payload.size == claimed);
      MUST(memcmp(frame.payload.data, input + at + 16, claimed) == 0);
      if (frame.kind == KIND_START) {
        check_start(frame.payload);
      } else if (frame.kind == KIND_CALL) {
        check_call(frame.payload);
      }
    }
    at += 16 + claimed;
  }
  platform_free_pages(pipes.pages, pipes.pages_size);
  return 0;
}
