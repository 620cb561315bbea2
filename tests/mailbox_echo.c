/* SPDX-License-Identifier: MIT
 *
 * The other side of a mailbox for tests and benchmarks: a worker without a plugin. `mailbox_echo MEMORY EVENT` answers
 * calls; the endpoint says how:
 *
 *   /echo     with the data
 *   /sleep    with the data, after as many microseconds as the data says
 *   /spin     the same, without sleeping
 *   /pipe     with the data, over the pipe
 *   /exit     not at all: the process ends
 *   /never    not at all
 *   /raw      with the data as the frame, whatever it is
 *   /word     with the number that the data says
 *   /place    at the place that the data says
 *   /scribble with the data, after it started a thread that writes random bytes all over the mapping from then on; the
 *             data is the seed
 *
 * Frames other than CALL are answered with code 0, no data, and the kind as HTTP status. */
#include "../native/wire/mailbox.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HEADER 16
#define CALL_SIZE 32
#define REPLY_SIZE 32
#define CALL 2
#define REPLY 130

static struct mailbox_worker worker;
static uint64_t scribble_state;

static uint32_t
get32(const unsigned char *from)
{
  uint32_t number;

  memcpy(&number, from, sizeof number);
  return number;
}

static uint64_t
get64(const unsigned char *from)
{
  uint64_t number;

  memcpy(&number, from, sizeof number);
  return number;
}

static void
put32(unsigned char *to, uint32_t number)
{
  memcpy(to, &number, sizeof number);
}

static void
put64(unsigned char *to, uint64_t number)
{
  memcpy(to, &number, sizeof number);
}

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

/* Where the reply's number and message are. */
#define NUMBER (MAILBOX_BLOCK + offsetof(struct mailbox_line, number))
#define MESSAGE (MAILBOX_BLOCK + offsetof(struct mailbox_line, message))

/* Writes where the host looks, most of the time: words, headers, sizes, texts; values that are near to good ones. */
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
      put64(base + at, value);
    } else if (at != NUMBER || (random >> 24) % 64 == 0) {
      put32(base + at, (uint32_t)value);
    }
    for (random >>= 48; random > 0; random -= random < 64 ? random : 64) { /* the host gets its chance */
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
is(const unsigned char *endpoint, size_t size, const char *name)
{
  return size == strlen(name) && memcmp(endpoint, name, size) == 0;
}

static size_t
write_reply(unsigned char *to, uint64_t id, uint32_t status, const unsigned char *data, size_t size)
{
  put32(to, (uint32_t)(REPLY_SIZE + size));
  put32(to + 4, REPLY);
  put64(to + 8, id);
  put32(to + 16, 0);
  put32(to + 20, status);
  put32(to + 24, UINT32_MAX);
  put32(to + 28, UINT32_MAX);
  put64(to + 32, data != NULL ? size : UINT64_MAX);
  put64(to + 40, 0);
  if (data != NULL) {
    memcpy(to + HEADER + REPLY_SIZE, data, size);
  }
  return HEADER + REPLY_SIZE + size;
}

static void
answer(const unsigned char *frame, uint32_t place)
{
  unsigned char *reply = worker.box->reply.message, *own = NULL;
  const uint64_t id = get64(frame + 8);
  const unsigned char *endpoint = frame + HEADER + CALL_SIZE, *data = NULL;
  size_t endpoint_size = 0, size = 0, written;
  unsigned long number = 0;

  if (get32(frame + 4) == CALL) {
    uint32_t traceparent = get32(frame + 32), tracestate = get32(frame + 36);
    char digits[24] = "";
    endpoint_size = get32(frame + 24);
    data = endpoint + endpoint_size + get32(frame + 28) + (traceparent == UINT32_MAX ? 0 : traceparent) +
           (tracestate == UINT32_MAX ? 0 : tracestate);
    size = get64(frame + 40);
    memcpy(digits, data, size < sizeof digits - 1 ? size : sizeof digits - 1);
    number = strtoul(digits, NULL, 10);
  }
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
  if (place == MAILBOX_PIPE || is(endpoint, endpoint_size, "/pipe") || size > MAILBOX_AREA - HEADER - REPLY_SIZE) {
    own = malloc(HEADER + REPLY_SIZE + size);
    if (own == NULL) {
      exit(6);
    }
    written = write_reply(own, id, 0, data, size);
    mailbox_answer(&worker, MAILBOX_PIPE);
    transfer(1, own, written, true);
    free(own);
    return;
  }
  (void)write_reply(reply, id, data == NULL ? get32(frame + 4) : 0, data, size);
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
      unsigned char header[HEADER], *frame;
      transfer(0, header, HEADER, false);
      frame = malloc(HEADER + (size_t)get32(header));
      if (frame == NULL) {
        exit(6);
      }
      memcpy(frame, header, HEADER);
      transfer(0, frame + HEADER, get32(header), false);
      answer(frame, place);
      free(frame);
    } else {
      return 4;
    }
  }
}
