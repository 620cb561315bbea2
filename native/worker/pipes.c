/* SPDX-License-Identifier: MIT */
#include "pipes.h"

#include <string.h>

/* The maximum number of parts of a frame; a REFUSED that contains a response has the most. */
#define MOST_PARTS 8

/* Reads until `wanted` bytes of unused input are in `small`. */
static bool
fill(struct pipes *pipes, size_t wanted)
{
  while (pipes->end - pipes->begin < wanted) {
    ptrdiff_t got;

    if (pipes->begin > 0) {
      memmove(pipes->small, pipes->small + pipes->begin, pipes->end - pipes->begin);
      pipes->end -= pipes->begin;
      pipes->begin = 0;
    }
    got = platform_read(pipes->requests, pipes->small + pipes->end, sizeof pipes->small - pipes->end);
    if (got <= 0) {
      return false;
    }
    pipes->end += (size_t)got;
  }
  return true;
}

static bool
reserve(struct pipes *pipes, size_t size)
{
  const size_t page = (size_t)1 << 16;

  if (size > pipes->pages_size) {
    platform_free_pages(pipes->pages, pipes->pages_size);
    pipes->pages_size = 0;
    size = (size + page - 1) / page * page;
    pipes->pages = platform_pages(size);
    if (pipes->pages != NULL) {
      pipes->pages_size = size;
    }
  }
  return pipes->pages != NULL;
}

/* Moves `left` bytes from the pipe to `to`, or discards them if it is NULL. */
static bool
pull(struct pipes *pipes, uint8_t *to, size_t left)
{
  size_t there = pipes->end - pipes->begin < left ? pipes->end - pipes->begin : left;

  if (to != NULL) {
    memcpy(to, pipes->small + pipes->begin, there);
  }
  pipes->begin += there;
  left -= there;
  if (left > 0) { /* all data that was read ahead has been used */
    pipes->begin = pipes->end = 0;
  }
  while (left > 0) {
    size_t size = to == NULL && left > sizeof pipes->small ? sizeof pipes->small : left;
    ptrdiff_t got;

    if (to != NULL) {
      to += there;
    }
    got = platform_read(pipes->requests, to != NULL ? to : pipes->small, size);
    if (got <= 0) {
      return false;
    }
    there = (size_t)got;
    left -= there;
  }
  return true;
}

void
pipes_release(struct pipes *pipes)
{
  if (pipes->pages_size > KEPT) {
    platform_free_pages(pipes->pages, pipes->pages_size);
    pipes->pages = NULL;
    pipes->pages_size = 0;
  }
}

enum received
pipes_receive(struct pipes *pipes, struct frame *frame)
{
  size_t size;

  pipes_release(pipes);
  if (!fill(pipes, HEADER_SIZE)) {
    return RECEIVED_END;
  }
  if (!header_read(pipes->small + pipes->begin, frame)) {
    return RECEIVED_BROKEN;
  }
  size = frame->payload.size;
  if (HEADER_SIZE + size <= sizeof pipes->small) {
    if (!fill(pipes, HEADER_SIZE + size)) {
      return RECEIVED_END;
    }
    frame->payload.data = pipes->small + pipes->begin + HEADER_SIZE;
    pipes->begin += HEADER_SIZE + size;
    return RECEIVED;
  }
  pipes->begin += HEADER_SIZE;
  if (!reserve(pipes, size)) {
    frame->payload.size = 0;
    return pull(pipes, NULL, size) ? RECEIVED_HALF : RECEIVED_END;
  }
  if (!pull(pipes, pipes->pages, size)) {
    return RECEIVED_END;
  }
  frame->payload.data = pipes->pages;
  return RECEIVED;
}

bool
pipes_send(struct pipes *pipes, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count,
           void (*copied)(void *context), void *context)
{
  struct bytes all[MOST_PARTS + 1] = { { pipes->out, HEADER_SIZE } };
  struct bytes last = { pipes->out, 0 };
  size_t size = 0, used = 1, i;

  for (i = 0; i < count && used <= MOST_PARTS; i++) {
    if (parts[i].size > 0) {
      all[used++] = parts[i];
      size += parts[i].size;
    }
  }
  header_write(pipes->out, kind, id, (uint32_t)size);

  if (HEADER_SIZE + size <= sizeof pipes->out) {
    last.size = HEADER_SIZE;
    for (i = 1; i < used; i++) {
      memcpy(pipes->out + last.size, all[i].data, all[i].size);
      last.size += all[i].size;
    }
  } else {
    /* Too large to be copied twice: all bytes except the last go directly to the pipe. */
    used--;
    all[used].size--;
    pipes->out[HEADER_SIZE] = all[used].data[all[used].size];
    last.data = pipes->out + HEADER_SIZE;
    last.size = 1;
    if (!platform_write(pipes->replies, all, used + 1)) {
      return false;
    }
  }
  if (copied != NULL) {
    copied(context);
  }
  return platform_write(pipes->replies, &last, 1);
}
