/* SPDX-License-Identifier: MIT
 *
 * The mailbox: how one request at a time goes from the host to a worker and its reply back, through memory that both
 * have mapped. Linux only. PROTOCOL.md describes it in its section "Mailbox"; host and worker both include this file.
 *
 * The hand-over. Each direction has a sequence word, which its sender alone raises, and a "sleeps" word, which the
 * other side alone sets. The sender writes the message, then the sequence word, then reads "sleeps", and wakes the
 * receiver if it does. The receiver polls for a moment, then writes "sleeps", then reads the sequence word once more,
 * and sleeps only if it is still the old one. All four accesses are sequentially consistent: either the sender sees
 * that the receiver sleeps, or the receiver sees the new number; a wake-up cannot be lost. tests/handover_model.py
 * tries all schedules of mailbox_post, mailbox_sleep and mailbox_arm, line by line: what changes here changes there.
 *
 * The host must not believe anything in here: it reads each value once, bounds it, and copies before it looks. The
 * worker checks what its host sends only to find bugs. Words and messages are in the machine's own byte order, which is little-endian wherever
 * this is built. */
#ifndef BACKWORKS_MAILBOX_H
#define BACKWORKS_MAILBOX_H

#if !defined(__linux__)
#error "mailbox.h is for Linux"
#endif
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for syscall and sched_getcpu, so this file comes before all others */
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

/* One direction: its words, and the message right behind them, because a small one then comes along with the number, in
 * the same cache line or the one that is fetched with it. */
#define MAILBOX_BLOCK ((size_t)32 << 20)
#define MAILBOX_WORDS ((size_t)0x90)
/* The largest message, with its header. */
#define MAILBOX_AREA (MAILBOX_BLOCK - MAILBOX_WORDS)
#define MAILBOX_SIZE (2 * MAILBOX_BLOCK)
/* The part of a block that is always kept, and what the rest is given back and prepared in: a huge page. */
#define MAILBOX_KEPT ((size_t)2 << 20)
/* A message above this size uses the rest. */
#define MAILBOX_LARGE (MAILBOX_KEPT - MAILBOX_WORDS)

/* Where a message is. */
#define MAILBOX_HERE 1u /* in the area */
#define MAILBOX_PIPE 2u /* on the pipe, because it does not fit, or because its request came that way */

/* What "sleeps" says. */
#define MAILBOX_AWAKE 0u
#define MAILBOX_ON_FUTEX 1u /* wake me at the sequence word */
#define MAILBOX_ON_EVENT 2u /* write to the eventfd; of the host only */

struct mailbox_line {
  /* Written by the receiver. Apart from the others, so that the sender has it in its cache. */
  _Alignas(128) _Atomic uint32_t sleeps; /* MAILBOX_AWAKE, MAILBOX_ON_FUTEX, MAILBOX_ON_EVENT */
  /* Written by the sender, the number last, once for each message. */
  _Alignas(128) _Atomic uint32_t number; /* of the last message: 1, 2, ... modulo 2**32 */
  _Atomic uint32_t place;                /* MAILBOX_HERE or MAILBOX_PIPE */
  _Atomic uint32_t cpu;                  /* on which the sender was */
  uint32_t unused;
  unsigned char message[MAILBOX_AREA];
};

/* The mapping, all zero at first. The number of a reply is that of its request. */
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

/* Maps a mailbox, where huge pages can be part of it. Returns NULL if the descriptor is none, or memory is short; errno
 * says more. */
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

/* MADV_COLLAPSE of linux/mman.h, which not all C libraries have. */
#define MAILBOX_COLLAPSE 25

/* Tells whether the system has memory for the page at `at`. */
static inline bool
mailbox_is_resident(unsigned char *at)
{
  unsigned char resident = 0;

  return mincore(at, 1, &resident) == 0 && (resident & 1) != 0;
}

/* Gets memory for a large message of that size, before it is written: in huge pages where the system has them (Linux
 * 6.1), because page by page it takes longer than all the copying of a call. Does nothing where the memory is there. */
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
    *(volatile unsigned char *)(block + at) = 0; /* what has no page at all is not collapsed */
  }
  (void)madvise(block + MAILBOX_KEPT, last, MAILBOX_COLLAPSE);
}

/* Gives back the memory of large messages, while there is none. */
static inline void
mailbox_give_back(struct mailbox_line *line)
{
  (void)madvise((unsigned char *)line + MAILBOX_KEPT, MAILBOX_BLOCK - MAILBOX_KEPT, MADV_REMOVE);
}

/* Polling */

/* The longest that one side polls, in nanoseconds: about what it costs both sides to put a processor to sleep and to wake
 * it up, under a hypervisor; and longer than a server takes from one request to the next. */
#define MAILBOX_LONGEST_SPIN UINT32_C(100000)
/* Below this, polling is not worth looking at the clock. */
#define MAILBOX_SHORTEST_SPIN UINT32_C(1000)
/* A wait that took less than this would have been shorter if the waiter had polled: the time of an answer, and of two
 * wake-ups of idle processors. */
#define MAILBOX_SHORT_WAIT UINT64_C(150000)
/* A polling thread that finds so much time gone at once was not running: others want the processor. */
#define MAILBOX_PREEMPTED UINT64_C(20000)
/* So many waits it does not poll after that, if it has happened again and again; once is once. */
#define MAILBOX_LONGEST_REST 31u
/* So many bytes of a message are fetched before they are written. */
#define MAILBOX_OWNED ((size_t)2048)

/* Has this processor fetch the cache lines of the next message, to be written, if it is as long as the last one of that
 * direction: the other side has read that, and the first write to each line waits until its processor gives the line
 * up. To be called when there is something else to do meanwhile. The first lines are left alone, because the other side
 * polls the number beside them; a long message is slow for other reasons. */
static inline void
mailbox_own(const struct mailbox_line *line, size_t size)
{
  const unsigned char *at = line->message + (0x100 - MAILBOX_WORDS);
  const unsigned char *end = line->message + (size < MAILBOX_OWNED ? size : MAILBOX_OWNED);

  for (; at < end; at += 64) {
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*at)); /* GCC writes it only for processors that have it for sure */
#else
    __builtin_prefetch(at, 1);
#endif
  }
}

/* What one side has learnt about polling; private to it. */
struct mailbox_spin {
  uint32_t limit;     /* nanoseconds to poll; 0: sleep at once */
  uint32_t rest;      /* waits that are still to do without */
  uint32_t last_rest; /* how many there were last, or 0 if polling was of use since */
};

static inline uint64_t
mailbox_now(void)
{
  struct timespec now;

  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* The processor of this thread, or a number that is no processor's. */
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

/* Polls so many times. Tells whether the word is another than `old`. */
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

/* Polls for as long as was learnt, from `start` on. Tells whether the word is another than `old`. */
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

/* Tells whether to poll at all for what the other side does. Two that share a processor cannot wait for each other by
 * keeping it busy. */
static inline bool
mailbox_may_spin(struct mailbox_spin *spin, const struct mailbox_line *from_other)
{
  if (spin->rest > 0) {
    spin->rest--;
    return false;
  }
  return spin->limit > 0 && atomic_load_explicit(&from_other->cpu, memory_order_relaxed) != mailbox_cpu();
}

/* Polls as much as is worth it. Tells whether the number is another than `old`; if not, writes when the wait began. */
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

/* Learns from a wait that ended in sleep: how long it was, in all. */
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

/* The hand-over */

/* Wakes the one thread that sleeps at the word, in whatever process it is. */
static inline void
mailbox_wake(_Atomic uint32_t *word)
{
  (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Hands a message over that is complete. `event_fd` is used where the receiver may be MAILBOX_ON_EVENT. */
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
    (void)!write(event_fd, &one, sizeof one); /* it fails only where it is readable already */
  }
}

/* Sleeps until the number is another than `old`, for at most so long where that is not NULL; may end early. Tells
 * whether it is. */
static inline bool
mailbox_sleep(struct mailbox_line *line, uint32_t old, const struct timespec *longest)
{
  atomic_store_explicit(&line->sleeps, MAILBOX_ON_FUTEX, memory_order_seq_cst);
  if (atomic_load_explicit(&line->number, memory_order_seq_cst) == old) {
    (void)syscall(SYS_futex, &line->number, FUTEX_WAIT, old, longest, NULL, 0); /* compares once more */
  }
  atomic_store_explicit(&line->sleeps, MAILBOX_AWAKE, memory_order_relaxed);
  return atomic_load_explicit(&line->number, memory_order_acquire) != old;
}

/* Asks for the eventfd to be written. Tells whether the number is another than `old` already; the eventfd may be
 * written also then. It stays asked for until mailbox_disarm. */
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
  uint32_t number; /* of the request that was received last */
  size_t sent;     /* the size of the last reply in the mapping */
  struct mailbox_spin spin;
};

/* Begins to serve, before the host sends anything through the mailbox. Tells whether the mapping was made; memory_fd
 * may be closed after that, event_fd not. */
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

/* Waits for the next request. Returns MAILBOX_HERE: it begins at box->request.message; or MAILBOX_PIPE: it is to be
 * read from the request pipe. */
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

/* Answers the request that was received last. With MAILBOX_HERE, the reply has been written to box->reply.message.
 * With MAILBOX_PIPE it is written to the reply pipe after this, because the host reads only once it knows. */
static inline void
mailbox_answer(struct mailbox_worker *worker, uint32_t place)
{
  mailbox_post(&worker->box->reply, worker->number, place, worker->event_fd);
}

#endif
