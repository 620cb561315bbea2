/* SPDX-License-Identifier: MIT
 *
 * The mailbox carries one request at a time from the host to a worker, and its reply back, through memory that both
 * have mapped. Linux only. Section 9 of PROTOCOL.md specifies it; host and worker both include this file.
 *
 * Handover. Each direction has a sequence number, which only its sender increments, and a "sleeps" word, which only the
 * receiver sets. The sender writes the message, then the number, then reads "sleeps", and wakes the receiver if it
 * sleeps. The receiver polls briefly, then sets "sleeps", then reads the number again, and sleeps only if it has not
 * changed. All four accesses are sequentially consistent: either the sender sees that the receiver sleeps, or the
 * receiver sees the new number, so no wake-up is lost. tests/handover_model.py explores all schedules of mailbox_post,
 * mailbox_sleep and mailbox_arm step by step; keep it in line with this file.
 *
 * The host trusts nothing in the mailbox: it reads each value once, checks it, and copies bytes before inspecting them.
 * The worker checks what the host sends only to find bugs. Numbers are in the machine's byte order, which is
 * little-endian on all supported systems. */
#ifndef BACKWORKS_MAILBOX_H
#define BACKWORKS_MAILBOX_H

#if !defined(__linux__)
#error "mailbox.h is for Linux"
#endif
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for syscall and sched_getcpu; this file must therefore be included first */
#endif

#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the mailbox needs a little-endian machine"
#endif
#if ATOMIC_INT_LOCK_FREE != 2
#error "the mailbox needs atomic 32-bit words"
#endif

/* The layout */

/* One direction: its words and, right after them, the message, so that a small message shares a cache line with the
 * number, or uses the line that is fetched with it. */
#define MAILBOX_BLOCK ((size_t)32 << 20)
#define MAILBOX_WORDS ((size_t)0x90)
/* The maximum size of a message, including its header. */
#define MAILBOX_AREA (MAILBOX_BLOCK - MAILBOX_WORDS)
#define MAILBOX_SIZE (2 * MAILBOX_BLOCK)
/* The part of a block that is never returned to the system, and the unit for the rest: a huge page. */
#define MAILBOX_KEPT ((size_t)2 << 20)
/* A message above this size uses the rest of the block. */
#define MAILBOX_LARGE (MAILBOX_KEPT - MAILBOX_WORDS)

/* The place of a message. */
#define MAILBOX_HERE 1u /* in the area */
#define MAILBOX_PIPE 2u /* on the pipe, because it does not fit or its request was on the pipe */

/* The values of "sleeps". */
#define MAILBOX_AWAKE 0u
#define MAILBOX_ON_FUTEX 1u /* wake the futex at the number */
#define MAILBOX_ON_EVENT 2u /* write to the eventfd; only the host uses this */

struct mailbox_line {
  /* Written by the receiver. In a cache line of its own, so that it stays in the sender's cache. */
  _Alignas(128) _Atomic uint32_t sleeps; /* MAILBOX_AWAKE, MAILBOX_ON_FUTEX, MAILBOX_ON_EVENT */
  /* Written by the sender, once for each message, the number last. */
  _Alignas(128) _Atomic uint32_t number; /* of the last message: 1, 2, ... modulo 2^32 */
  _Atomic uint32_t place;                /* MAILBOX_HERE or MAILBOX_PIPE */
  _Atomic uint32_t cpu;                  /* that the sender ran on */
  uint32_t unused;
  unsigned char message[MAILBOX_AREA];
};

/* The mapping, initially zero. A reply has the number of its request. */
struct mailbox {
  struct mailbox_line request; /* from the host to the worker */
  struct mailbox_line reply;   /* from the worker to the host */
};

_Static_assert(sizeof(_Atomic uint32_t) == 4, "a futex has 32 bits");
_Static_assert(offsetof(struct mailbox_line, sleeps) == 0, "layout");
_Static_assert(offsetof(struct mailbox_line, number) == 0x80, "layout");
_Static_assert(offsetof(struct mailbox_line, place) == 0x84, "layout");
_Static_assert(offsetof(struct mailbox_line, cpu) == 0x88, "layout");
_Static_assert(offsetof(struct mailbox_line, message) == MAILBOX_WORDS, "layout");
_Static_assert(offsetof(struct mailbox, reply) == MAILBOX_BLOCK, "layout");
_Static_assert(sizeof(struct mailbox) == MAILBOX_SIZE, "layout");

/* Maps a mailbox, aligned for huge pages. Returns NULL if the descriptor is not a mailbox or memory is short; errno may
 * have the reason. */
static inline struct mailbox *
mailbox_map(int memory_fd)
{
  const size_t room = MAILBOX_SIZE + MAILBOX_KEPT;
  struct stat status;
  unsigned char *at;
  size_t before;

  if (fstat(memory_fd, &status) != 0 || status.st_size != (off_t)MAILBOX_SIZE) {
    return NULL;
  }
  at = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    return NULL;
  }
  before = -(uintptr_t)at % MAILBOX_KEPT;
  if (mmap(at + before, MAILBOX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory_fd, 0) == MAP_FAILED) {
    (void)munmap(at, room);
    return NULL;
  }
  if (before > 0) {
    (void)munmap(at, before);
  }
  (void)munmap(at + before + MAILBOX_SIZE, MAILBOX_KEPT - before);
  return (struct mailbox *)(void *)(at + before);
}

/* Large messages */

/* MADV_COLLAPSE of linux/mman.h, which some C libraries lack. */
#define MAILBOX_COLLAPSE 25

/* Returns whether the page at `at` has memory. */
static inline bool
mailbox_is_resident(unsigned char *at)
{
  unsigned char resident = 0;

  return mincore(at, 1, &resident) == 0 && (resident & 1) != 0;
}

/* Allocates memory for a large message of that size before it is written, in huge pages if the system has them (Linux
 * 6.1): allocating single pages takes longer than copying a whole call. Does nothing if it is already allocated. */
static inline void
mailbox_prepare(struct mailbox_line *line, size_t size)
{
  unsigned char *block = (unsigned char *)line;
  const size_t last = (MAILBOX_WORDS + size - 1) / MAILBOX_KEPT * MAILBOX_KEPT;
  size_t at;

  if (size <= MAILBOX_LARGE || mailbox_is_resident(block + last)) {
    return;
  }
  for (at = MAILBOX_KEPT; at <= last; at += MAILBOX_KEPT) {
    *(volatile unsigned char *)(block + at) = 0; /* a range without any page cannot be collapsed */
  }
  (void)madvise(block + MAILBOX_KEPT, last, MAILBOX_COLLAPSE);
}

/* Returns the memory of large messages to the system. No message may be in the mailbox. */
static inline void
mailbox_give_back(struct mailbox_line *line)
{
  (void)madvise((unsigned char *)line + MAILBOX_KEPT, MAILBOX_BLOCK - MAILBOX_KEPT, MADV_REMOVE);
}

/* Polling */

/* The maximum time to poll, in nanoseconds: about what both sides lose when a processor goes to sleep and wakes up
 * under a hypervisor, and longer than a server takes between two requests. */
#define MAILBOX_LONGEST_SPIN UINT32_C(100000)
/* Below this, polling is not worth reading the clock. */
#define MAILBOX_SHORTEST_SPIN UINT32_C(1000)
/* A sleeping wait that took less than this would have been shorter with polling: the time of a reply, and of waking two
 * idle processors. */
#define MAILBOX_SHORT_WAIT UINT64_C(150000)
/* A polling thread that sees the clock jump by this much was preempted: others need the processor. */
#define MAILBOX_PREEMPTED UINT64_C(20000)
/* The maximum number of waits without polling after repeated preemption; it starts at one and doubles. */
#define MAILBOX_LONGEST_REST 31u
/* How many bytes of a message are prefetched before they are written. */
#define MAILBOX_OWNED ((size_t)2048)

/* Prefetches the cache lines of the next message for writing, assuming that it is as long as the last one in the same
 * direction: the other side has read that one, so the first write to each line waits until its processor gives the line
 * up. Call this when there is other work to do in the meantime. Skips the first lines, because the other side polls the
 * number next to them, and the end of a long message, which is slow for other reasons. */
static inline void
mailbox_own(const struct mailbox_line *line, size_t size)
{
  const unsigned char *at = line->message + (0x100 - MAILBOX_WORDS);
  const unsigned char *end = line->message + (size < MAILBOX_OWNED ? size : MAILBOX_OWNED);

  for (; at < end; at += 64) {
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*at)); /* GCC emits it only for processors that are known to have it */
#else
    __builtin_prefetch(at, 1);
#endif
  }
}

/* What one side has learned about polling; private to that side. */
struct mailbox_spin {
  uint32_t limit;     /* nanoseconds to poll; 0: sleep at once */
  uint32_t rest;      /* remaining waits without polling */
  uint32_t last_rest; /* the last number of such waits, or 0 if polling has succeeded since */
};

static inline uint64_t
mailbox_now(void)
{
  struct timespec now;

  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Returns the processor that runs this thread, or a number that no processor has. */
static inline uint32_t
mailbox_cpu(void)
{
  return (uint32_t)sched_getcpu();
}

static inline void
mailbox_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ __volatile__("yield");
#endif
}

/* Polls `times` times. Returns whether the word differs from `old`. */
static inline bool
mailbox_poll(struct mailbox_spin *spin, const _Atomic uint32_t *word, uint32_t old, unsigned times)
{
  while (times-- > 0) {
    if (atomic_load_explicit(word, memory_order_acquire) != old) {
      spin->last_rest = 0;
      return true;
    }
    mailbox_pause();
  }
  return false;
}

/* Polls until the learned limit after `start`. Returns whether the word differs from `old`. */
static inline bool
mailbox_poll_long(struct mailbox_spin *spin, const _Atomic uint32_t *word, uint32_t old, uint64_t start)
{
  uint64_t last = start, now;

  while (!mailbox_poll(spin, word, old, 16)) {
    now = mailbox_now();
    if (now - last > MAILBOX_PREEMPTED) {
      spin->last_rest = spin->last_rest < MAILBOX_LONGEST_REST ? 2 * spin->last_rest + 1 : MAILBOX_LONGEST_REST;
      spin->rest = spin->last_rest;
      return false;
    }
    if (now - start >= spin->limit) {
      return false;
    }
    last = now;
  }
  return true;
}

/* Returns whether to poll for the other side at all. Two sides on the same processor must not poll, because each would
 * keep the other from running. */
static inline bool
mailbox_may_spin(struct mailbox_spin *spin, const struct mailbox_line *from_other)
{
  if (spin->rest > 0) {
    spin->rest--;
    return false;
  }
  return spin->limit > 0 && atomic_load_explicit(&from_other->cpu, memory_order_relaxed) != mailbox_cpu();
}

/* Polls while it is worth it. Returns whether the number differs from `old`; if not, stores when the wait began. */
static inline bool
mailbox_spin(struct mailbox_spin *spin, const struct mailbox_line *line, uint32_t old, uint64_t *start)
{
  bool polls = mailbox_may_spin(spin, line);

  if (polls && mailbox_poll(spin, &line->number, old, 64)) {
    return true;
  }
  *start = mailbox_now();
  return polls && mailbox_poll_long(spin, &line->number, old, *start);
}

/* Adjusts the limit after a wait that slept and took `waited` nanoseconds in total. */
static inline void
mailbox_learn(struct mailbox_spin *spin, uint64_t waited)
{
  if (waited < MAILBOX_SHORT_WAIT) {
    spin->limit = 2 * spin->limit + MAILBOX_SHORTEST_SPIN;
    if (spin->limit > MAILBOX_LONGEST_SPIN) {
      spin->limit = MAILBOX_LONGEST_SPIN;
    }
  } else {
    spin->limit = spin->limit < 2 * MAILBOX_SHORTEST_SPIN ? 0 : spin->limit / 2;
  }
}

/* Handover */

/* Wakes the thread that sleeps at the word, in any process. */
static inline void
mailbox_wake(_Atomic uint32_t *word)
{
  (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Hands over a complete message. `event_fd` is used if the receiver is MAILBOX_ON_EVENT. */
static inline void
mailbox_post(struct mailbox_line *line, uint32_t number, uint32_t place, int event_fd)
{
  static const uint64_t one = 1;
  uint32_t sleeps;

  atomic_store_explicit(&line->place, place, memory_order_relaxed);
  atomic_store_explicit(&line->cpu, mailbox_cpu(), memory_order_relaxed);
  atomic_store_explicit(&line->number, number, memory_order_seq_cst);
  sleeps = atomic_load_explicit(&line->sleeps, memory_order_seq_cst);
  if (sleeps == MAILBOX_ON_FUTEX) {
    mailbox_wake(&line->number);
  } else if (sleeps == MAILBOX_ON_EVENT) {
    (void)!write(event_fd, &one, sizeof one); /* fails only if it is already readable */
  }
}

/* Sleeps until the number differs from `old`, for at most `longest` unless that is NULL; may return early. Returns
 * whether it differs. */
static inline bool
mailbox_sleep(struct mailbox_line *line, uint32_t old, const struct timespec *longest)
{
  atomic_store_explicit(&line->sleeps, MAILBOX_ON_FUTEX, memory_order_seq_cst);
  if (atomic_load_explicit(&line->number, memory_order_seq_cst) == old) {
    (void)syscall(SYS_futex, &line->number, FUTEX_WAIT, old, longest, NULL, 0); /* compares again */
  }
  atomic_store_explicit(&line->sleeps, MAILBOX_AWAKE, memory_order_relaxed);
  return atomic_load_explicit(&line->number, memory_order_acquire) != old;
}

/* Requests a write to the eventfd for each message until mailbox_disarm. Returns whether the number already differs
 * from `old`; the eventfd may be written even then. */
static inline bool
mailbox_arm(struct mailbox_line *line, uint32_t old)
{
  atomic_store_explicit(&line->sleeps, MAILBOX_ON_EVENT, memory_order_seq_cst);
  return atomic_load_explicit(&line->number, memory_order_seq_cst) != old;
}

static inline void
mailbox_disarm(struct mailbox_line *line)
{
  atomic_store_explicit(&line->sleeps, MAILBOX_AWAKE, memory_order_relaxed);
}

/* The worker's side */

struct mailbox_worker {
  struct mailbox *box;
  int event_fd;
  uint32_t number; /* of the last request */
  size_t sent;     /* the size of the last reply in the mapping */
  struct mailbox_spin spin;
};

/* Opens the mailbox, before the host sends anything through it. Returns whether it could be mapped; memory_fd may then
 * be closed, event_fd must stay open. */
static inline bool
mailbox_open(struct mailbox_worker *worker, int memory_fd, int event_fd)
{
  worker->box = mailbox_map(memory_fd);
  worker->event_fd = event_fd;
  worker->number = 0;
  worker->sent = 0;
  worker->spin.limit = MAILBOX_LONGEST_SPIN;
  worker->spin.rest = 0;
  worker->spin.last_rest = 0;
  return worker->box != NULL;
}

/* Waits for the next request. Returns MAILBOX_HERE if it is at box->request.message, or MAILBOX_PIPE if it must be read
 * from the request pipe; other values are malformed. */
static inline uint32_t
mailbox_receive(struct mailbox_worker *worker)
{
  struct mailbox_line *line = &worker->box->request;
  uint64_t start;

  if (!mailbox_spin(&worker->spin, line, worker->number, &start)) {
    while (!mailbox_sleep(line, worker->number, NULL)) {
    }
    mailbox_learn(&worker->spin, mailbox_now() - start);
  }
  worker->number = atomic_load_explicit(&line->number, memory_order_acquire);
  return atomic_load_explicit(&line->place, memory_order_relaxed);
}

/* Replies to the last request. With MAILBOX_HERE, the reply must already be at box->reply.message. With MAILBOX_PIPE,
 * it must be written to the reply pipe after this call, because the host reads the pipe only when it is announced. */
static inline void
mailbox_answer(struct mailbox_worker *worker, uint32_t place)
{
  mailbox_post(&worker->box->reply, worker->number, place, worker->event_fd);
}

#endif
