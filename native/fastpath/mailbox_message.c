/* SPDX-License-Identifier: MIT
 *
 * Messages of a Mailbox: a request becomes a frame in the mapping, a frame in the mapping becomes a Reply. */
#include "mailbox_box.h"

#if HAVE_MAILBOX

#include <string.h>

/* A message up to this size is copied with the interpreter lock. */
#define SMALL_COPY ((size_t)64 << 10)
/* An object of at least this size may have huge pages. */
#define HUGE_OBJECT ((size_t)4 << 20)

/* Notes that a large message is in the areas. */
static void
note_large(struct box *box)
{
  PyObject *result;

  if (!box->dirty) {
    box->dirty = true;
    result = PyObject_CallNoArgs(box->needs[NEED_LARGE]);
    Py_XDECREF(result);
    if (result == NULL) {
      PyErr_WriteUnraisable(box->needs[NEED_LARGE]);
    }
  }
}

/* Requests */

static struct bytes
bytes_of(const struct text *text)
{
  return (struct bytes){ (const uint8_t *)text->data, text->size };
}

static void
put_bytes(uint8_t *to, struct bytes bytes)
{
  if (bytes.size > 0) {
    memcpy(to, bytes.data, bytes.size);
  }
}

/* The number of the next request; the one before it was answered. */
static uint32_t
next_number(struct box *box)
{
  return box_number(box) + 1;
}

void
box_post(struct box *box, uint32_t place)
{
  uint32_t number = next_number(box);

  atomic_store_explicit(&box->number, number, memory_order_seq_cst);
  mailbox_post(&box->shared->request, number, place, -1);
}

/* Writes the header of the next request, and returns where its payload goes. */
static uint8_t *
put_header(struct box *box, uint8_t kind, size_t payload)
{
  uint8_t *frame = box->shared->request.message;

  box->sent = HEADER_SIZE + payload;
  header_write(frame, kind, next_number(box), (uint32_t)payload);
  return frame + HEADER_SIZE;
}

/* Copies the last part of a frame, and hands it over. */
static void
send_last(struct box *box, uint8_t *to, struct bytes last)
{
  if (last.size <= SMALL_COPY) {
    put_bytes(to, last);
  } else {
    if (box->sent > MAILBOX_LARGE) {
      note_large(box);
    }
    Py_BEGIN_ALLOW_THREADS
    mailbox_prepare(&box->shared->request, box->sent);
    put_bytes(to, last);
    Py_END_ALLOW_THREADS
  }
  box_post(box, MAILBOX_HERE);
}

static int
take_texts(struct texts *texts, uint64_t *time_left, PyObject *const *given)
{
  *time_left = 0;
  if (text_take(&texts->endpoint, given[BOX_ENDPOINT], "endpoint") < 0 ||
      text_take(&texts->method, given[BOX_METHOD], "method") < 0 || take_data(&texts->data, given[BOX_DATA]) < 0 ||
      take_field(&texts->traceparent, given[BOX_TRACEPARENT], "traceparent") < 0 ||
      take_field(&texts->tracestate, given[BOX_TRACESTATE], "tracestate") < 0) {
    return -1;
  }
  if (given[BOX_TIMEOUT] != Py_None) {
    if (take_timeout(given[BOX_TIMEOUT], time_left) < 0) {
      return -1;
    }
    *time_left += *time_left == 0; /* 0 is no limit */
  }
  return 0;
}

static bool
fits(const struct call *call)
{
  return call->endpoint.size <= MAX_TEXT && call->method.size <= MAX_TEXT && call->traceparent.size <= MAX_TEXT &&
         call->tracestate.size <= MAX_TEXT &&
         call->data.size <= MAILBOX_AREA - HEADER_SIZE - CALL_SIZE - 4 * (size_t)MAX_TEXT;
}

int
box_send_call(struct box *box, PyObject *const *given, uint64_t *time_left)
{
  struct texts texts;
  struct call call;
  int result = -1;

  texts_none(&texts);
  if (take_texts(&texts, time_left, given) < 0) {
    goto out;
  }
  call.time_left_ns = *time_left;
  call.endpoint = bytes_of(&texts.endpoint);
  call.method = bytes_of(&texts.method);
  call.traceparent = bytes_of(&texts.traceparent);
  call.tracestate = bytes_of(&texts.tracestate);
  call.data = bytes_of(&texts.data);
  if (!fits(&call)) {
    result = 0;
  } else if (box_enter(box, IDLE) == 0) { /* only now: taking the arguments may run Python code */
    send_last(box, call_write(put_header(box, KIND_CALL, call_size(&call)), &call), call.data);
    result = 1;
  }
out:
  texts_release(&texts);
  return result;
}

int
box_send_control(struct box *box, int kind, PyObject *payload)
{
  struct text text;
  int result = -1;

  text_none(&text);
  if (text_take(&text, payload, "payload") < 0) {
    return -1;
  }
  if (kind <= 0 || kind > UINT8_MAX || text.size > MAILBOX_AREA - HEADER_SIZE) {
    PyErr_SetString(PyExc_ValueError, "such a frame does not fit into the mailbox");
  } else if (box_enter(box, IDLE) == 0) {
    send_last(box, put_header(box, (uint8_t)kind, text.size), bytes_of(&text));
    result = 0;
  }
  text_release(&text);
  return result;
}

/* Replies */

/* Copies out of the mapping. After this the compiler cannot read there again instead. */
static void
fetch(void *to, const uint8_t *from, size_t size)
{
  memcpy(to, from, size);
  atomic_signal_fence(memory_order_seq_cst);
}

/* Lets the system use huge pages for a large object that is about to be filled: one page fault in place of 512. */
static void
allow_huge(char *object, size_t size)
{
  const size_t page = (size_t)2 << 20;
  const size_t before = -(uintptr_t)object % page;

  if (size >= HUGE_OBJECT) {
    (void)madvise(object + before, (size - before) / page * page, MADV_HUGEPAGE);
  }
}

/* Makes bytes of what is in the mapping. */
static PyObject *
copy_out(const uint8_t *from, size_t size)
{
  PyObject *bytes;
  char *to;

  if (size <= SMALL_COPY) {
    return PyBytes_FromStringAndSize((const char *)from, (Py_ssize_t)size);
  }
  bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
  if (bytes != NULL) {
    to = PyBytes_AsString(bytes);
    Py_BEGIN_ALLOW_THREADS
    allow_huge(to, size);
    memcpy(to, from, size);
    Py_END_ALLOW_THREADS
  }
  return bytes;
}

/* The same, or None where the sender had NULL. */
static PyObject *
copy_out_or_none(const uint8_t *from, size_t size, bool absent)
{
  if (absent) {
    Py_RETURN_NONE;
  }
  return copy_out(from, size);
}

/* Has Python say what is wrong with a frame, or what it means after all. */
static PyObject *
judge(struct box *box, uint32_t payload)
{
  const size_t whole = HEADER_SIZE + (size_t)payload;
  /* Where the size cannot be true, its header alone says so. */
  PyObject *frame = copy_out(box->shared->reply.message, whole <= MAILBOX_AREA ? whole : HEADER_SIZE);
  PyObject *reply = NULL;

  if (frame != NULL) {
    reply = PyObject_CallFunction(box->needs[NEED_JUDGE], "OI", frame, (unsigned int)box_number(box));
    Py_DECREF(frame);
  }
  return reply;
}

/* What follows the fixed part of a REPLY, as it claims. */
struct sizes {
  size_t type;
  size_t headers;
  size_t data;
};

/* Reads the sizes. Returns false if they are not those of a plain REPLY that answers the request and is whole. */
static bool
bound(struct box *box, const struct header *header, const struct reply *reply, struct sizes *sizes)
{
  const uint64_t type = reply->type_size == ABSENT_TEXT ? 0 : reply->type_size;
  const uint64_t headers = reply->headers_size == ABSENT_TEXT ? 0 : reply->headers_size;
  const uint64_t data = reply->data_size == ABSENT_DATA ? 0 : reply->data_size;

  sizes->type = (size_t)type;
  sizes->headers = (size_t)headers;
  sizes->data = (size_t)data;
  return header->kind == KIND_REPLY && header->id == box_number(box) && reply->broken == BROKEN_NONE &&
         reply->zero == 0 && type <= MAX_TEXT && headers <= MAX_TEXT && data <= box->max_output &&
         HEADER_SIZE + (uint64_t)header->size <= MAILBOX_AREA &&
         header->size == REPLY_SIZE + type + headers + data; /* bounded one by one: no overflow */
}

/* Makes the Reply of the frame in the mapping. */
static PyObject *
take_here(struct box *box)
{
  const uint8_t *frame = box->shared->reply.message;
  uint8_t head[HEADER_SIZE + REPLY_SIZE];
  struct header header;
  struct reply reply;
  struct sizes sizes;
  PyObject *values[5];

  fetch(head, frame, sizeof head);
  header = header_split(head);
  reply = reply_split(head + HEADER_SIZE);
  if (!bound(box, &header, &reply, &sizes)) {
    return judge(box, header.size);
  }
  if (HEADER_SIZE + (size_t)header.size > MAILBOX_LARGE) {
    note_large(box);
  }
  frame += sizeof head;
  values[0] = PyLong_FromLong(reply.code);
  values[2] = PyLong_FromUnsignedLong(reply.status);
  values[3] = copy_out_or_none(frame, sizes.type, reply.type_size == ABSENT_TEXT);
  frame += sizes.type;
  values[4] = copy_out_or_none(frame, sizes.headers, reply.headers_size == ABSENT_TEXT);
  frame += sizes.headers;
  values[1] = copy_out_or_none(frame, sizes.data, reply.data_size == ABSENT_DATA);
  return reply_of(box->state, values);
}

/* Takes the reply that is on the pipe; as box_take. */
static PyObject *
take_from_pipe(struct box *box, bool wait, uint64_t deadline)
{
  const unsigned int number = box_number(box);
  uint64_t now;

  if (!wait) {
    return PyObject_CallFunction(box->needs[NEED_BEGIN_FROM_PIPE], "I", number);
  }
  if (deadline == 0) {
    return PyObject_CallFunction(box->needs[NEED_FROM_PIPE], "IO", number, Py_None);
  }
  now = mailbox_now();
  return PyObject_CallFunction(box->needs[NEED_FROM_PIPE], "Id", number,
                               now < deadline ? (double)(deadline - now) / 1e9 : 0.0);
}

PyObject *
box_take(struct box *box, bool wait, uint64_t deadline)
{
  const bool ended = box_has_ended(box);
  const uint32_t found = atomic_load_explicit(&box->shared->reply.number, memory_order_acquire);
  PyObject *reply;
  uint32_t place;

  if (found != box_number(box)) {
    box_leave(box, OPEN);
    return ended ? box_raise(box, NEED_GONE, "the worker has ended")
                 : box_raise(box, NEED_FRAME_ERROR, "a number in the mailbox that was not asked for");
  }
  place = atomic_load_explicit(&box->shared->reply.place, memory_order_relaxed);
  if (place == MAILBOX_HERE) {
    reply = take_here(box);
    mailbox_own(&box->shared->request, box->sent);
    box_leave(box, IDLE);
    return reply;
  }
  if (place == MAILBOX_PIPE) {
    box_leave(box, IDLE);
    return take_from_pipe(box, wait, deadline);
  }
  box_leave(box, OPEN);
  return box_raise(box, NEED_FRAME_ERROR, "a message in the mailbox that is at no place");
}

#else

/* C11 has no empty file. */
typedef int no_mailbox;

#endif
