/* SPDX-License-Identifier: MIT
 *
 * Frames over the two pipes with which the worker was started. */
#ifndef BACKWORKS_WORKER_PIPES_H
#define BACKWORKS_WORKER_PIPES_H

#include "../wire/frame.h"
#include "platform.h"

/* Frames up to this size are read with one system call, and replies written with one. */
#define SMALL ((size_t)64 << 10)

/* A buffer above this size is freed as soon as the reply to its request is sent. */
#define KEPT ((size_t)1 << 20)

struct pipes {
  descriptor requests;
  descriptor replies;
  size_t begin; /* of the unused data in `small` */
  size_t end;
  uint8_t *pages; /* for a frame that does not fit into `small`, or NULL */
  size_t pages_size;
  uint8_t small[SMALL];
  uint8_t out[SMALL];
};

enum received {
  RECEIVED,      /* the frame is valid until the next pipes_receive */
  RECEIVED_HALF, /* there was no memory for its payload, which was read and discarded */
  RECEIVED_END,  /* the host has closed the pipe, or the plugin has */
  RECEIVED_BROKEN
};

/* Waits for a complete frame. */
enum received pipes_receive(struct pipes *pipes, struct frame *frame);

/* Frees the memory of a large request; pipes_receive does so as well. */
void pipes_release(struct pipes *pipes);

/* Sends a frame of the parts. Calls `copied(context)`, unless it is NULL, after all parts are copied and before the
 * host has the complete frame. The owner of the memory frees it there. If that kills the process, the host sees a call
 * without a reply, instead of a reply and a later crash without a cause. Returns false if the pipe is closed. */
bool pipes_send(struct pipes *pipes, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count,
                void (*copied)(void *context), void *context);

#endif
