/* SPDX-License-Identifier: MIT */
#include "channel.h"

#if defined(__linux__)

#include <string.h>

enum received
channel_receive(struct channel *channel, struct frame *frame)
{
  const unsigned char *request;

  if (!channel->posted) {
    return pipes_receive(&channel->pipes, frame);
  }
  pipes_release(&channel->pipes);
  channel->place = mailbox_receive(&channel->mailbox);
  if (channel->place == MAILBOX_PIPE) {
    return pipes_receive(&channel->pipes, frame);
  }
  request = channel->mailbox.box->request.message;
  if (channel->place != MAILBOX_HERE || !header_read(request, frame) ||
      frame->payload.size > MAILBOX_AREA - HEADER_SIZE) {
    return RECEIVED_BROKEN;
  }
  frame->payload.data = request + HEADER_SIZE;
  mailbox_own(&channel->mailbox.box->reply, channel->mailbox.sent);
  return RECEIVED;
}

/* Writes the frame to the mailbox, where the host expects it. Returns false if it does not fit. */
static bool
put(struct mailbox_worker *mailbox, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count)
{
  unsigned char *to = mailbox->box->reply.message;
  size_t size = 0, i;

  for (i = 0; i < count; i++) {
    size += parts[i].size; /* each part has a maximum size, so the sum cannot overflow */
  }
  if (size > MAILBOX_AREA - HEADER_SIZE) {
    return false;
  }
  mailbox->sent = HEADER_SIZE + size;
  mailbox_prepare(&mailbox->box->reply, mailbox->sent);
  header_write(to, kind, id, (uint32_t)size);
  to += HEADER_SIZE;
  for (i = 0; i < count; i++) {
    if (parts[i].size > 0) {
      memcpy(to, parts[i].data, parts[i].size);
      to += parts[i].size;
    }
  }
  return true;
}

bool
channel_send(struct channel *channel, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count,
             void (*copied)(void *context), void *context)
{
  if (!channel->posted) {
    channel->posted = kind == KIND_READY && channel->mailbox.box != NULL;
    return pipes_send(&channel->pipes, kind, id, parts, count, copied, context);
  }
  if (channel->place == MAILBOX_HERE && put(&channel->mailbox, kind, id, parts, count)) {
    if (copied != NULL) {
      copied(context);
    }
    mailbox_answer(&channel->mailbox, MAILBOX_HERE);
    return true;
  }
  mailbox_answer(&channel->mailbox, MAILBOX_PIPE); /* first, because the host reads the pipe only after that */
  return pipes_send(&channel->pipes, kind, id, parts, count, copied, context);
}

#else

enum received
channel_receive(struct channel *channel, struct frame *frame)
{
  return pipes_receive(&channel->pipes, frame);
}

bool
channel_send(struct channel *channel, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count,
             void (*copied)(void *context), void *context)
{
  return pipes_send(&channel->pipes, kind, id, parts, count, copied, context);
}

#endif
