/* SPDX-License-Identifier: MIT
 *
 * The worker's side of a mailbox for tests and benchmarks, without a plugin. `mailbox_echo MEMORY EVENT` handles calls
 * according to their endpoint:
 *
 *   /echo     replies with the data
 *   /sleep    the same, after sleeping for the number of microseconds in the data
 *   /spin     the same, but spins instead of sleeping
 *   /pipe     replies with the data, over the pipe
 *   /exit     exits without a reply
 *   /never    never replies
 *   /raw      replies with the data as the frame, valid or not
 *   /word     replies with the number in the data as the reply's number
 *   /place    replies with the number in the data as the reply's place
 *   /scribble replies with the data, after starting a thread that keeps writing random bytes all over the mapping; the
 *             data is the seed
 *
 * The reply to frames other than CALL has code 0, no data, and the kind as HTTP status. */
#include "../native/wire/mailbox.h"

#include "../native/wire/frame.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct mailbox_worker worker;
static uint64_t scribble_state;

static void
transfer(int descriptor, unsigned char *bytes, size_t size, bool out)
{
  while (size > 0) {
    ssize_t done = out ? write(descriptor, bytes, size) : read(descriptor, bytes, size);
    if (done <= 0) {
      exit(5);
    }
    bytes += done;
    size -= (size_t)done;
  }
}

static uint64_t
random_next(void)
{
  scribble_state ^= scribble_state << 13;
  scribble_state ^= scribble_state >> 7;
  scribble_state ^= scribble_state << 17;
  return scribble_state;
}

/* The offsets of the reply's number and message. */
#define NUMBER (MAILBOX_BLOCK + offsetof(struct mailbox_line, number))
#define MESSAGE (MAILBOX_BLOCK + offsetof(struct mailbox_line, message))

/* Writes mostly where the host reads: words, headers, sizes, texts; mostly values close to valid ones. */
static void *
scribble(void *unused)
{
  unsigned char *base = (unsigned char *)worker.box;
  (void)unused;

  for (;;) {
    uint64_t random = random_next();
    uint64_t value = random_next();
    size_t at;
    switch (random % 8) {
    case 0: at = random_next() % MAILBOX_SIZE & ~(size_t)7; break;
    case 1: at = NUMBER + (random_next() % 4) * 4; break;                 /* number, place, processor */
    case 2: at = MAILBOX_BLOCK; value %= 3; break;                        /* whether the host sleeps */
    default: at = MESSAGE + (random_next() % 24) * 4; break;              /* header and sizes */
    }
    if ((random >> 8) % 4 != 0) {
      value &= UINT64_C(0xffffffff) >> (random >> 16) % 32;
    }
    if ((random >> 24) % 16 == 0 && at != NUMBER) {
      put_u64(base + at, value);
    } else if (at != NUMBER || (random >> 24) % 64 == 0) {
      put_u32(base + at, (uint32_t)value);
    }
    for (random >>= 48; random > 0; random -= random < 64 ? random : 64) { /* let the host run */
      mailbox_pause();
    }
  }
  return NULL;
}

static void
wait_busily(uint64_t nanoseconds)
{
  uint64_t end = mailbox_now() + nanoseconds;

  while (mailbox_now() < end) {
    mailbox_pause();
  }
}

static bool
is(const uint8_t *endpoint, size_t size, const char *name)
{
  return size == strlen(name) && memcmp(endpoint, name, size) == 0;
}

static size_t
write_reply(uint8_t *to, uint64_t id, uint32_t status, const uint8_t *data, size_t size)
{
  const struct reply reply = { .status = status,
                               .type_size = ABSENT_TEXT,
                               .headers_size = ABSENT_TEXT,
                               .data_size = data != NULL ? size : ABSENT_DATA };

  header_write(to, KIND_REPLY, id, (uint32_t)(REPLY_SIZE + size));
  reply_write(to + HEADER_SIZE, &reply);
  if (data != NULL) {
    memcpy(to + HEADER_SIZE + REPLY_SIZE, data, size);
  }
  return HEADER_SIZE + REPLY_SIZE + size;
}

static void
answer(const uint8_t *frame, uint32_t place)
{
  uint8_t *reply = worker.box->reply.message, *own = NULL;
  const struct header header = header_split(frame);
  const struct bytes payload = { frame + HEADER_SIZE, header.size };
  struct call call = { .data = { NULL, 0 } };
  const uint8_t *endpoint, *data;
  size_t endpoint_size, size, written;
  unsigned long number;
  char digits[24] = "";

  if (header.kind == KIND_CALL && !call_read(payload, &call)) {
    exit(4);
  }
  endpoint = call.endpoint.data;
  endpoint_size = call.endpoint.size;
  data = call.data.data;
  size = call.data.size;
  memcpy(digits, data != NULL ? data : frame, size < sizeof digits - 1 ? size : sizeof digits - 1);
  number = strtoul(digits, NULL, 10);
  if (is(endpoint, endpoint_size, "/exit")) {
    _exit(7);
  }
  if (is(endpoint, endpoint_size, "/never")) {
    for (;;) {
      (void)pause();
    }
  }
  if (is(endpoint, endpoint_size, "/sleep")) {
    (void)usleep((useconds_t)number);
  } else if (is(endpoint, endpoint_size, "/spin")) {
    wait_busily(number * 1000);
  } else if (is(endpoint, endpoint_size, "/raw")) {
    memcpy(reply, data, size);
    mailbox_answer(&worker, MAILBOX_HERE);
    return;
  } else if (is(endpoint, endpoint_size, "/scribble") && scribble_state == 0) {
    pthread_t thread;
    scribble_state = number * 2 + 1;
    if (pthread_create(&thread, NULL, scribble, NULL) != 0) {
      exit(6);
    }
  }
  if (place == MAILBOX_PIPE || is(endpoint, endpoint_size, "/pipe") || size > MAILBOX_AREA - HEADER_SIZE - REPLY_SIZE) {
    own = malloc(HEADER_SIZE + REPLY_SIZE + size);
    if (own == NULL) {
      exit(6);
    }
    written = write_reply(own, header.id, 0, data, size);
    mailbox_answer(&worker, MAILBOX_PIPE);
    transfer(1, own, written, true);
    free(own);
    return;
  }
  (void)write_reply(reply, header.id, data == NULL ? header.kind : 0, data, size);
  if (is(endpoint, endpoint_size, "/word")) {
    worker.number = (uint32_t)number;
    mailbox_answer(&worker, MAILBOX_HERE);
  } else {
    mailbox_answer(&worker, is(endpoint, endpoint_size, "/place") ? (uint32_t)number : MAILBOX_HERE);
  }
}

int
main(int count, char **arguments)
{
  if (count != 3 || !mailbox_open(&worker, atoi(arguments[1]), atoi(arguments[2]))) {
    (void)fprintf(stderr, "mailbox_echo: no mailbox\n");
    return 2;
  }
  for (;;) {
    uint32_t place = mailbox_receive(&worker);
    if (place == MAILBOX_HERE) {
      answer(worker.box->request.message, place);
    } else if (place == MAILBOX_PIPE) {
      uint8_t header[HEADER_SIZE], *frame;
      size_t size;
      transfer(0, header, sizeof header, false);
      size = header_split(header).size;
      frame = malloc(HEADER_SIZE + size);
      if (frame == NULL) {
        exit(6);
      }
      memcpy(frame, header, HEADER_SIZE);
      transfer(0, frame + HEADER_SIZE, size, false);
      answer(frame, place);
      free(frame);
    } else {
      return 4;
    }
  }
}
