/* SPDX-License-Identifier: MIT
 *
 * Handles requests one at a time; each gets its reply before the next is read. The table at the end of this file
 * maps each kind of request to its function. */
#include "serve.h"

#include <stdio.h>
#include <string.h>

#include "library.h"
#include "log.h"

/* The maximum size of the reason for a failed start, in bytes. */
#define MAX_REASON 4096

/* There is no instance before START, and no process after SHUTDOWN. */
enum state { BORN = 1, RUNNING = 2 };

struct worker {
  struct channel *channel;
  enum state state;
  uint64_t max_output;
  struct library library;
  backworks_plugin *plugin;
};

static void
host_log(void *context, uint32_t level, const char *text, size_t size)
{
  (void)context;
  if (text != NULL) {
    log_write(level, text, size);
  }
}

static const void *
host_get_extension(void *context, const char *id)
{
  (void)context;
  (void)id;
  return NULL;
}

/* Never freed, so that a thread of the plugin can safely log after shutdown. */
static const backworks_host host = {
  .struct_size = sizeof host,
  .abi_version = BACKWORKS_ABI_VERSION,
  .log = host_log,
  .get_extension = host_get_extension,
};

NORETURN static void
lost(void)
{
  platform_end_children(); /* the watcher thread does so too, but this thread may be faster */
  platform_complain("one of the pipes to the host is closed");
  platform_end(END_PIPES);
}

NORETURN static void
broken(const char *what)
{
  char text[120];

  (void)snprintf(text, sizeof text, "the host sent a malformed frame: %s", what);
  platform_complain(text);
  platform_ending();
  platform_end_children();
  platform_end(END_BROKEN);
}

static void
send(struct worker *worker, uint8_t kind, uint64_t id, const struct bytes *parts, size_t count,
     void (*copied)(void *context), void *context)
{
  if (!channel_send(worker->channel, kind, id, parts, count, copied, context)) {
    lost();
  }
}

/* Ends the process after a failed start. `parts` follows the three numbers. */
NORETURN static void
refuse(struct worker *worker, uint64_t id, uint32_t stage, uint32_t detail, const struct bytes *parts, size_t count,
       struct answer *answer)
{
  uint8_t head[REFUSED_SIZE];
  struct bytes all[5] = { { head, sizeof head } };
  uint32_t size = 0;
  size_t i;

  for (i = 0; i < count; i++) {
    all[i + 1] = parts[i];
    size += (uint32_t)parts[i].size;
  }
  (void)put_u32(put_u32(put_u32(head, stage), detail), size);
  platform_end_children();
  log_finish();
  platform_ending();
  send(worker, KIND_REFUSED, id, all, count + 1, answer != NULL ? answer_free : NULL, answer);
  platform_end(END_REFUSED);
}

NORETURN static void
refuse_text(struct worker *worker, uint64_t id, uint32_t stage, uint32_t detail, const char *text)
{
  struct bytes part = { (const uint8_t *)text, strlen(text) };

  refuse(worker, id, stage, detail, &part, 1, NULL);
}

/* Sends a reply from the worker itself, with a code and optionally a text. */
static void
reply(struct worker *worker, uint64_t id, int32_t code, const char *text)
{
  struct answer answer;

  answer_prepare(&answer, NULL);
  answer_take(&answer, code, MAX_DATA);
  if (text != NULL) {
    answer.parts[3] = (struct bytes){ (const uint8_t *)text, strlen(text) };
    (void)put_u64(answer.head + 16, answer.parts[3].size);
  }
  send(worker, KIND_REPLY, id, answer.parts, 4, NULL, NULL);
}

static void
reply_answer(struct worker *worker, uint64_t id, int32_t code, struct answer *answer)
{
  answer_take(answer, code, worker->max_output);
  send(worker, KIND_REPLY, id, answer->parts, 4, answer_free, answer);
}

static void
handle_start(struct worker *worker, const struct frame *frame)
{
  struct library *library = &worker->library;
  char text[MAX_REASON];
  uint8_t head[READY_SIZE], *to = head;
  struct start start;
  struct answer answer;
  struct bytes parts[4] = { { head, sizeof head } };
  const char *refused;
  char *path;
  uint32_t number = 0, stage, abi;
  int32_t code;
  size_t i;

  if (!start_protocol(frame->payload, &number) || number != PROTOCOL_VERSION) {
    refuse_text(worker, frame->id, STAGE_PROTOCOL, PROTOCOL_VERSION, "the worker supports another version");
  }
  if (!start_read(frame->payload, &start)) {
    broken("a START with inconsistent sizes");
  }
  if (start.flags != 0) {
    refuse_text(worker, frame->id, STAGE_PROTOCOL, PROTOCOL_VERSION, "the worker does not support these flags");
  }
  worker->max_output = start.max_output;
  refused = platform_limit(&start, &number);
  if (refused != NULL) {
    refuse_text(worker, frame->id, STAGE_LIMITS, number, refused);
  }

  path = platform_pages(start.path.size + 1); /* zeroed */
  if (path == NULL) {
    refuse_text(worker, frame->id, STAGE_LIMITS, 0, "memory");
  }
  memcpy(path, start.path.data, start.path.size);
  stage = library_open(library, path, text, sizeof text);
  platform_free_pages(path, start.path.size + 1);
  if (stage != 0) {
    refuse_text(worker, frame->id, stage, 0, text);
  }
  abi = library->abi_version();
  if (abi != BACKWORKS_ABI_VERSION) {
    refuse_text(worker, frame->id, STAGE_ABI, abi, "");
  }
  parts[1] = library_text(library->name());
  parts[2] = library_text(library->version());
  parts[3] = library_text(library->description != NULL ? library->description() : NULL);

  answer_prepare(&answer, library);
  code = library->init(&host, (const char *)start.config.data, start.config.size, &worker->plugin, &answer.response);
  answer_take(&answer, code, worker->max_output);
  if (code != BACKWORKS_OK || worker->plugin == NULL || answer.broken != BROKEN_NONE) {
    if (code == BACKWORKS_OK && worker->plugin != NULL) {
      (void)library->shutdown(worker->plugin);
    }
    refuse(worker, frame->id, STAGE_INIT, (uint32_t)code, answer.parts, 4, &answer);
  }
  answer_free(&answer); /* the message of a success is not used */

  worker->state = RUNNING;
  to = put_u32(to, PROTOCOL_VERSION);
  to = put_u32(to, abi);
  to = put_u32(to, library_optional(library));
  to = put_u32(to, platform_pid());
  for (i = 1; i < 4; i++) {
    to = put_u32(to, parts[i].data != NULL ? (uint32_t)parts[i].size : ABSENT_TEXT);
  }
  send(worker, KIND_READY, frame->id, parts, 4, NULL, NULL);
}

static void
handle_call(struct worker *worker, const struct frame *frame)
{
  struct call call;
  struct answer answer;
  backworks_request request;
  int32_t code;

  if (!call_read(frame->payload, &call)) {
    broken("a CALL with inconsistent sizes");
  }
  memset(&request, 0, sizeof request);
  request.struct_size = sizeof request;
  request.endpoint = (const char *)call.endpoint.data;
  request.endpoint_size = call.endpoint.size;
  request.method = (const char *)call.method.data;
  request.method_size = call.method.size;
  request.data = (const char *)call.data.data;
  request.data_size = call.data.size;
  request.time_left_ns = call.time_left_ns;
  request.traceparent = (const char *)call.traceparent.data;
  request.traceparent_size = call.traceparent.size;
  request.tracestate = (const char *)call.tracestate.data;
  request.tracestate_size = call.tracestate.size;
  answer_prepare(&answer, &worker->library);
  code = worker->library.process(worker->plugin, &request, &answer.response);
  reply_answer(worker, frame->id, code, &answer);
}

static void
handle_health(struct worker *worker, const struct frame *frame)
{
  struct answer answer;

  if (worker->library.health_check == NULL) {
    reply(worker, frame->id, BACKWORKS_UNIMPLEMENTED, NULL);
    return;
  }
  answer_prepare(&answer, &worker->library);
  reply_answer(worker, frame->id, worker->library.health_check(worker->plugin, &answer.response), &answer);
}

static void
handle_reconfigure(struct worker *worker, const struct frame *frame)
{
  const struct bytes config = frame->payload;
  struct answer answer;

  if (worker->library.reconfigure == NULL) {
    reply(worker, frame->id, BACKWORKS_UNIMPLEMENTED, NULL);
    return;
  }
  answer_prepare(&answer, &worker->library);
  reply_answer(worker, frame->id,
               worker->library.reconfigure(worker->plugin, (const char *)config.data, config.size, &answer.response),
               &answer);
}

static void
handle_shutdown(struct worker *worker, const struct frame *frame)
{
  int32_t code = worker->library.shutdown(worker->plugin);

  platform_end_children();
  log_finish();
  platform_ending();
  reply(worker, frame->id, code, NULL);
  platform_end(END_SHUTDOWN);
}

static const struct {
  uint8_t kind;
  const char *misplaced; /* the error message in the other state */
  enum state state;
  void (*handle)(struct worker *, const struct frame *);
} requests[] = {
  { KIND_CALL, "a CALL before READY", RUNNING, handle_call },
  { KIND_HEALTH, "a HEALTH before READY", RUNNING, handle_health },
  { KIND_RECONFIGURE, "a RECONFIGURE before READY", RUNNING, handle_reconfigure },
  { KIND_SHUTDOWN, "a SHUTDOWN before READY", RUNNING, handle_shutdown },
  { KIND_START, "a second START", BORN, handle_start },
};

static void
dispatch(struct worker *worker, const struct frame *frame)
{
  size_t i = 0;

  while (requests[i].kind != frame->kind) { /* header_read accepts no other kind */
    i++;
  }
  if (requests[i].state != worker->state) {
    broken(requests[i].misplaced);
  }
  requests[i].handle(worker, frame);
}

void
serve(struct channel *channel)
{
  static struct worker worker = { .state = BORN };
  struct frame frame;

  worker.channel = channel;
  for (;;) {
    switch (channel_receive(channel, &frame)) {
    case RECEIVED:
      dispatch(&worker, &frame);
      break;
    case RECEIVED_HALF:
      if (worker.state != RUNNING) {
        refuse_text(&worker, frame.id, STAGE_LIMITS, 0, "memory");
      }
      reply(&worker, frame.id, BACKWORKS_RESOURCE_EXHAUSTED, "the worker has no memory for a request of this size");
      break;
    case RECEIVED_END:
      lost();
    case RECEIVED_BROKEN:
      broken("a header with an unknown kind or an invalid size");
    }
  }
}
