/* SPDX-License-Identifier: MIT
 *
 * Frames over the two pipes that the worker was born with. */
#ifndef BACKWORKS_WORKER_PIPES_H
#define BACKWORKS_WORKER_PIPES_H

#include "../wire/frame.h"
#include "platform.h"

/* Frames up to this size are read with one system call, and answered with one. */
#define SMALL ((size_t)64 << 10)

/* A buffer above this size is given back as soon as the call that needed it is answered. */
#define KEPT ((size_t)1 << 20)

struct pipes {
  descriptor requests;
  descriptor replies;
  size_t begin; /* of what has been read and not used, in `small` */
  size_t end;
  uint8_t *pages; /* for a frame that does not fit into `small`, or NULL */
  size_t pages_size;
  uint8_t small[SMALL];
  uint8_t out[SMALL];
};

enum received {
  RECEIVED,      /* the frame is good until the next pipes_receive */
  RECEIVED_HALF, /* there was no memory for its payload, which was read and thrown away */
  RECEIVED_END,  /* the host has closed the pipe, or the plugin has */
  RECEIVED_BROKEN
};

/* Waits for a whole frame. */
enum received pipes_receive(struct pipes *pipes, struct frame *frame);

/* Gives back the memory of a large request; pipes_receive does it as well. */
void pipes_release(struct pipes *pipes);

/* Sends a frame of the parts. Between the moment when all parts are copied and the moment when the host has the whole
 * frame, `copied(context)` is called, unless it is NULL: who gave out memory takes it back there, and if that kills the
 * process, the host sees a call that was not answered rather than an answer and a later death that nobody caused.
 * Returns false if the pipe is gone. */
bool pipes_send(struct pipes *pipes, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count,
                void (*copied)(void *context), void *context);

#endif
