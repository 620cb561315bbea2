/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdio.h>
#include <string.h>

#define WARNING 30u

/* All these variables are guarded by the lock. */
static descriptor out = NO_DESCRIPTOR; /* unset if no process reads the records */
static uint8_t pending[HEADER_SIZE + 4 + MAX_TEXT]; /* one frame */
static size_t begin, end;                           /* of the part that is not written yet */
static bool stuck;                                  /* the pipe was full at the last attempt */
static uint64_t dropped;

void
log_open(descriptor pipe)
{
  out = pipe;
}

static void
compose(uint32_t level, const char *text, size_t size)
{
  header_write(pending, KIND_LOG, 0, (uint32_t)(4 + size));
  (void)put_u32(pending + HEADER_SIZE, level);
  memcpy(pending + HEADER_SIZE + 4, text, size);
  begin = 0;
  end = HEADER_SIZE + 4 + size;
}

/* Writes the frame. Returns false if a part is left. A frame that was started must be completed, so the next one must
 * wait for it. A frame that was not started is dropped. */
static bool
push(uint64_t until)
{
  while (begin < end) {
    ptrdiff_t written = platform_write_some(out, pending + begin, end - begin);
    uint64_t now;

    if (written < 0) {
      out = NO_DESCRIPTOR;
      return false;
    }
    begin += (size_t)written;
    if (written > 0) {
      continue;
    }
    now = platform_now();
    if (now >= until) {
      return false;
    }
    platform_wait_room(out, until - now);
  }
  return true;
}

/* Writes what must precede a record: the rest of the previous one, and the number of dropped ones. */
static bool
catch_up(uint64_t until)
{
  char text[120];

  if (!push(until)) {
    return false;
  }
  if (dropped > 0) {
    int size = snprintf(text, sizeof text, "%llu log records were dropped: the host did not read them in time",
                        (unsigned long long)dropped);

    compose(WARNING, text, (size_t)size);
    if (push(until)) {
      dropped = 0;
    } else if (begin == 0) {
      end = 0;
    } else {
      dropped = 0; /* the rest will be written later */
    }
    return begin == end && dropped == 0;
  }
  return true;
}

void
log_write(uint32_t level, const char *text, size_t size)
{
  platform_lock();
  if (out != NO_DESCRIPTOR) {
    uint64_t until = stuck ? 0 : platform_now() + LOG_PATIENCE;

    stuck = true;
    if (catch_up(until)) {
      compose(level, text, size < MAX_TEXT ? size : MAX_TEXT);
      if (push(until)) {
        stuck = false;
      } else if (begin == 0) {
        end = 0;
        dropped++;
      }
    } else {
      dropped++;
    }
  }
  platform_unlock();
}

void
log_finish(void)
{
  platform_lock();
  if (out != NO_DESCRIPTOR) {
    (void)catch_up(stuck ? 0 : platform_now() + LOG_PATIENCE);
  }
  platform_unlock();
}
