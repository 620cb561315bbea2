/* SPDX-License-Identifier: MIT
 *
 * Receives requests and sends replies: through the pipes and, on Linux after READY, through the mailbox. */
#ifndef BACKWORKS_WORKER_CHANNEL_H
#define BACKWORKS_WORKER_CHANNEL_H

#include "pipes.h"

#if defined(__linux__)
#include "../wire/mailbox.h"
#endif

struct channel {
  struct pipes pipes;
#if defined(__linux__)
  struct mailbox_worker mailbox; /* its box is NULL without a mailbox */
  bool posted;                   /* the host announces requests in the mailbox, and waits there for replies */
  uint32_t place;                /* where the last request was */
#endif
};

/* Waits for a complete frame, which is valid until the next channel_receive. */
enum received channel_receive(struct channel *channel, struct frame *frame);

/* Sends a frame, like pipes_send. */
bool channel_send(struct channel *channel, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count,
                  void (*copied)(void *context), void *context);

#endif
