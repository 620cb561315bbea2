/* SPDX-License-Identifier: MIT */
#include "threadpool.h"

#include <errno.h>
#include <stdlib.h>

#if !defined(_WIN32)
#include <fcntl.h>
#endif
#if defined(__linux__)
#include <sys/eventfd.h>
#endif

/* What it takes to wake a thread that sleeps, in nanoseconds: 5 to 50 microseconds, by processor and system. Who polls
 * for that long before it sleeps never loses more than as much again, whatever comes and whatever the number really is.
 * Both sides do, but only where that has been likely to help lately: where calls take less, and where callers are back
 * within a third of it. Who does other work between its calls, such as a server, needs the processor for that. */
#define WAKE_UP 30000
#define SHORT_PAUSE (WAKE_UP / 3)

/* One thread of a pool, on its stack. */
struct worker {
  struct worker *next; /* the one that fell asleep before */
  thread_condition wake;
  bool woken;
};

struct pool {
  thread_mutex mutex;
  thread_condition changed; /* for who waits in pool_close */
  struct job *first, *last; /* the queue */
  signpost queued;          /* how many are in it */
  struct worker *asleep;    /* the one that fell asleep last is woken first: its caches are the warmest */
  long coming;              /* threads that poll for a job, were woken, or were started and have not come yet */
  unsigned polling;
  unsigned threads, size;
  signpost cost; /* nanoseconds that a call takes, a moving average */
  signpost pause; /* nanoseconds from an answer to the next call, a moving average */
  uint64_t taken; /* when the last answer was taken; 0: a call has come since */
  signpost ending;
  enum life life;
  size_t inside, lost, nested;
  unsigned owners; /* the threads, and who made it */
  unsigned process;
  unsigned cpus;
};

/* The pool that the thread belongs to, or NULL. */
static THREAD_LOCAL struct pool *of_thread;

/* How many forks lie between the first process and this one. */
static unsigned process;

static thread_mutex rubbish_mutex;
static struct job *rubbish;
static signpost rubbish_there;

#if !defined(_WIN32)
/* In the child nobody else runs, and whoever held a mutex is not there to unlock it: everything of before is left
 * alone. */
static void
forked(void)
{
  process++;
  mutex_make(&rubbish_mutex);
  rubbish = NULL;
  SIGNPOST_SET(&rubbish_there, 0);
}
#endif

void
pool_setup(void)
{
  static bool done;

  if (!done) {
    done = true;
    mutex_make(&rubbish_mutex);
#if !defined(_WIN32)
    (void)pthread_atfork(NULL, NULL, forked);
#endif
  }
}

bool
pool_is_forked(const struct pool *pool)
{
  return pool->process != process;
}

struct pool *
pool_make(unsigned size)
{
  struct pool *pool = calloc(1, sizeof *pool);

  if (pool != NULL) {
    mutex_make(&pool->mutex);
    condition_make(&pool->changed);
    pool->size = size;
    pool->owners = 1;
    pool->process = process;
    pool->cpus = processors();
  }
  return pool;
}

/* Unlocks the mutex, with one owner less. */
static void
unlock_and_let_go(struct pool *pool)
{
  bool last = --pool->owners == 0;

  mutex_unlock(&pool->mutex);
  if (last) {
    condition_end(&pool->changed);
    mutex_end(&pool->mutex);
    free(pool);
  }
}

/* Has the threads end after what is queued. */
static void
end_threads(struct pool *pool)
{
  struct worker *worker;

  SIGNPOST_SET(&pool->ending, 1);
  while ((worker = pool->asleep) != NULL) {
    pool->asleep = worker->next;
    pool->coming++;
    worker->woken = true;
    condition_wake(&worker->wake);
  }
}

void
pool_let_go(struct pool *pool)
{
  if (!pool_is_forked(pool)) {
    mutex_lock(&pool->mutex);
    end_threads(pool);
    unlock_and_let_go(pool);
  }
}

enum life
pool_life(struct pool *pool)
{
  enum life life = CLOSED; /* here */

  if (!pool_is_forked(pool)) {
    mutex_lock(&pool->mutex);
    life = pool->life;
    mutex_unlock(&pool->mutex);
  }
  return life;
}

size_t
pool_inside(struct pool *pool)
{
  size_t inside = 0;

  if (!pool_is_forked(pool)) {
    mutex_lock(&pool->mutex);
    inside = pool->inside;
    mutex_unlock(&pool->mutex);
  }
  return inside;
}

/* The queue */

static void
queue_put(struct pool *pool, struct job *job)
{
  job->previous = pool->last;
  job->next = NULL;
  *(pool->last != NULL ? &pool->last->next : &pool->first) = job;
  pool->last = job;
  SIGNPOST_SET(&pool->queued, pool->queued + 1);
}

static void
queue_remove(struct pool *pool, struct job *job)
{
  *(job->previous != NULL ? &job->previous->next : &pool->first) = job->next;
  *(job->next != NULL ? &job->next->previous : &pool->last) = job->previous;
  SIGNPOST_SET(&pool->queued, pool->queued - 1);
}

/* Life */

/* Notes that a job has left. */
static void
leave(struct pool *pool, struct job *job)
{
  if (job->lost && --pool->lost == 0 && pool->life == QUARANTINED) {
    pool->life = RUNNING;
  }
  pool->nested -= job->nested;
  if (--pool->inside == 0 && pool->life == CLOSING) {
    condition_wake_all(&pool->changed);
  }
}

enum closing
pool_close(struct pool *pool, bool *first, uint64_t nanoseconds)
{
  enum closing result = NOT_OURS;

  if (pool_is_forked(pool)) {
    return NOT_OURS;
  }
  mutex_lock(&pool->mutex);
  if (pool->life == RUNNING || pool->life == QUARANTINED) {
    pool->life = CLOSING;
    *first = true;
  }
  if (pool->life == CLOSING && (pool->inside > 0 || !*first) && nanoseconds > 0) {
    condition_wait_for(&pool->changed, &pool->mutex, nanoseconds);
  }
  if (pool->life == CLOSING) {
    result = *first && pool->inside == 0 ? EMPTY : NOT_YET;
  }
  mutex_unlock(&pool->mutex);
  return result;
}

void
pool_closed(struct pool *pool, bool shut_down)
{
  if (pool_is_forked(pool)) {
    return;
  }
  mutex_lock(&pool->mutex);
  pool->life = shut_down ? CLOSED : ABANDONED;
  end_threads(pool);
  condition_wake_all(&pool->changed);
  mutex_unlock(&pool->mutex);
}

/* The threads */

static void
rubbish_add(struct job *job)
{
  mutex_lock(&rubbish_mutex);
  job->next = rubbish;
  rubbish = job;
  SIGNPOST_SET(&rubbish_there, 1);
  mutex_unlock(&rubbish_mutex);
}

struct job *
rubbish_take(void)
{
  struct job *job = NULL;

  if (SIGNPOST_GET(&rubbish_there)) {
    mutex_lock(&rubbish_mutex);
    job = rubbish;
    if (job != NULL) {
      rubbish = job->next;
    }
    SIGNPOST_SET(&rubbish_there, rubbish != NULL);
    mutex_unlock(&rubbish_mutex);
  }
  return job;
}

static bool waker_add(struct waker *waker, struct job *job);
static void waker_ring(struct waker *waker);

/* The next value of a moving average of about eight samples, of which only matters whether it is below the limit. So a
 * single outlier, which says little, adds no more than the limit itself. */
static long
average(long before, uint64_t sample, long limit)
{
  return before + ((sample < (uint64_t)limit * 8 ? (long)sample : limit * 8) - before) / 8;
}

/* Runs a job, without the mutex at first and last. */
static void
work_on(struct pool *pool, struct job *job)
{
  struct waker *ring = NULL;
  uint64_t begin = clock_now(), end;

  if (job->until == 0) {
    job->run(job, 0);
  } else if (job->until > begin) {
    job->run(job, job->until - begin);
  } else {
    job->late = true;
  }
  end = clock_now();

  mutex_lock(&pool->mutex);
  if (!job->late) {
    SIGNPOST_SET(&pool->cost, average(pool->cost, end - begin, WAKE_UP));
  }
  if (job->given_up) {
    mutex_unlock(&pool->mutex);
    job->forget(job); /* may log, and so wait for a thread that waits for the mutex */
    mutex_lock(&pool->mutex);
  }
  leave(pool, job);
  if (job->given_up) {
    rubbish_add(job);
    return;
  }
  if (job->sleeping) {
    condition_wake(&job->done);
  }
  if (job->waker != NULL && waker_add(job->waker, job)) {
    ring = job->waker;
  }
  SIGNPOST_SET(&job->stage, DONE); /* from here on it is the caller's */
  if (ring != NULL) {
    mutex_unlock(&pool->mutex);
    waker_ring(ring);
    mutex_lock(&pool->mutex);
  }
}

/* Polls for a job for a moment, unless that takes a processor from those who have work. Without the mutex. */
static void
poll_for_work(struct pool *pool)
{
  uint64_t now = clock_now(), begin = now, end = begin + WAKE_UP;
  int i;

  do {
    if (now - begin > SHORT_PAUSE) {
      thread_yield();
    }
    for (i = 0; i < 16; i++) {
      if (SIGNPOST_GET(&pool->queued) > 0 || SIGNPOST_GET(&pool->ending)) {
        return;
      }
      spin_pause();
    }
  } while ((now = clock_now()) < end);
}

static thread_result THREAD_CALL
work(void *argument)
{
  struct pool *pool = argument;
  struct worker self;

  of_thread = pool;
  condition_make(&self.wake);
  mutex_lock(&pool->mutex);
  pool->coming--;
  for (;;) {
    struct job *job = pool->first;
    if (job != NULL) {
      queue_remove(pool, job);
      SIGNPOST_SET(&job->stage, INSIDE);
      mutex_unlock(&pool->mutex);
      work_on(pool, job);
      continue;
    }
    if (pool->ending) {
      break;
    }
    if (pool->cpus > 1 && pool->polling == 0 && pool->pause < SHORT_PAUSE) {
      pool->polling++;
      pool->coming++;
      mutex_unlock(&pool->mutex);
      poll_for_work(pool);
      mutex_lock(&pool->mutex);
      pool->coming--;
      pool->polling--;
      if (pool->first != NULL || pool->ending) {
        continue;
      }
    }
    self.woken = false;
    self.next = pool->asleep;
    pool->asleep = &self;
    do {
      condition_wait(&self.wake, &pool->mutex);
    } while (!self.woken);
    pool->coming--;
  }
  pool->threads--;
  condition_end(&self.wake);
  unlock_and_let_go(pool);
  return (thread_result)0;
}

enum submitted
pool_submit(struct pool *pool, struct job *job)
{
  enum submitted result = SUBMITTED;

  job->pool = pool;
  job->waker = NULL;
  job->stage = QUEUED;
  job->sleeping = job->given_up = job->lost = job->late = job->listed = false;
  job->nested = of_thread == pool;
  if (pool_is_forked(pool)) {
    return FORKED;
  }
  mutex_lock(&pool->mutex);
  if (pool->life != RUNNING || (job->nested && pool->nested + 1 >= pool->size)) {
    result = pool->life != RUNNING ? (enum submitted)pool->life : NESTED;
    mutex_unlock(&pool->mutex);
    return result;
  }
  if (pool->taken != 0) {
    SIGNPOST_SET(&pool->pause, average(pool->pause, clock_now() - pool->taken, SHORT_PAUSE));
    pool->taken = 0;
  }
  pool->inside++;
  pool->nested += job->nested;
  queue_put(pool, job);
  if (pool->queued > pool->coming) {
    struct worker *worker = pool->asleep;
    if (worker != NULL) {
      pool->asleep = worker->next;
      pool->coming++;
      worker->woken = true;
      condition_wake(&worker->wake);
    } else if (pool->threads < pool->size) {
      pool->threads++;
      pool->owners++;
      pool->coming++;
      if (!thread_start(work, pool)) {
        pool->threads--;
        pool->owners--;
        pool->coming--;
        if (pool->threads <= pool->nested) { /* nobody would ever come for it */
          queue_remove(pool, job);
          leave(pool, job);
          result = NO_THREAD;
        }
      }
    }
  }
  mutex_unlock(&pool->mutex);
  return result;
}

/* The caller's side of a job */

bool
job_is_near(const struct job *job)
{
  struct pool *pool = job->pool;

  return pool->cpus > 1 && SIGNPOST_GET(&pool->cost) < WAKE_UP && SIGNPOST_GET(&pool->pause) < SHORT_PAUSE;
}

void
job_taken(struct job *job)
{
  uint64_t now = clock_now();

  if (!pool_is_forked(job->pool)) {
    mutex_lock(&job->pool->mutex);
    job->pool->taken = now;
    mutex_unlock(&job->pool->mutex);
  }
}

bool
job_poll(const struct job *job)
{
  uint64_t end = clock_now() + WAKE_UP;
  int i;

  do {
    for (i = 0; i < 16; i++) {
      if (SIGNPOST_GET(&job->stage) == DONE) {
        return true;
      }
      spin_pause();
    }
  } while (clock_now() < end);
  return false;
}

bool
job_sleep(struct job *job, uint64_t nanoseconds)
{
  bool done;

  mutex_lock(&job->pool->mutex);
  if (job->stage != DONE && nanoseconds > 0) {
    job->sleeping = true;
    condition_wait_for(&job->done, &job->pool->mutex, nanoseconds);
    job->sleeping = false;
  }
  done = job->stage == DONE;
  mutex_unlock(&job->pool->mutex);
  return done;
}

/* The waker */

struct waker {
  thread_mutex mutex;
  thread_condition called; /* for who waits where there is no descriptor */
  struct job *first, *last;
  unsigned owners; /* who made it, and each thread that is about to ring */
  unsigned process;
  bool rung;   /* the loop has been told, or is about to be */
  bool ringing; /* for who waits in waker_wait */
  int read_end, write_end;
};

#if defined(_WIN32)

/* The event loop of Windows watches no descriptors. */
static bool
open_descriptors(struct waker *waker)
{
  waker->read_end = waker->write_end = -1;
  return true;
}

static void
close_descriptors(struct waker *waker)
{
  (void)waker;
}

static void
write_descriptor(struct waker *waker)
{
  (void)waker;
}

static void
read_descriptor(struct waker *waker)
{
  (void)waker;
}

#else

static bool
open_descriptors(struct waker *waker)
{
#if defined(__linux__)
  waker->read_end = waker->write_end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return waker->read_end >= 0;
#else
  int ends[2], i;

  if (pipe(ends) < 0) {
    return false;
  }
  for (i = 0; i < 2; i++) {
    (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
  }
  waker->read_end = ends[0];
  waker->write_end = ends[1];
  return true;
#endif
}

static void
close_descriptors(struct waker *waker)
{
  if (waker->write_end != waker->read_end) {
    (void)close(waker->write_end);
  }
  (void)close(waker->read_end);
}

static void
write_descriptor(struct waker *waker)
{
  const uint64_t one = 1;

  while (write(waker->write_end, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

static void
read_descriptor(struct waker *waker)
{
  uint64_t number;

  while (read(waker->read_end, &number, sizeof number) > 0 && waker->read_end != waker->write_end) {
  }
}

#endif

struct waker *
waker_make(void)
{
  struct waker *waker = calloc(1, sizeof *waker);

  if (waker == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  if (!open_descriptors(waker)) {
    free(waker);
    return NULL;
  }
  mutex_make(&waker->mutex);
  condition_make(&waker->called);
  waker->owners = 1;
  waker->process = process;
  return waker;
}

int
waker_descriptor(const struct waker *waker)
{
  return waker->read_end;
}

void
waker_clear(struct waker *waker)
{
  mutex_lock(&waker->mutex);
  read_descriptor(waker);
  waker->rung = false;
  mutex_unlock(&waker->mutex);
}

bool
waker_wait(struct waker *waker, uint64_t nanoseconds)
{
  bool ringing;

  mutex_lock(&waker->mutex);
  if (!waker->ringing) {
    condition_wait_for(&waker->called, &waker->mutex, nanoseconds);
  }
  ringing = waker->ringing;
  waker->ringing = false;
  mutex_unlock(&waker->mutex);
  return ringing;
}

/* Adds a job. Returns whether the caller has to ring, which it does without any mutex: that takes microseconds. */
static bool
waker_add(struct waker *waker, struct job *job)
{
  bool ring;

  mutex_lock(&waker->mutex);
  job->previous = waker->last;
  job->next = NULL;
  *(waker->last != NULL ? &waker->last->next : &waker->first) = job;
  waker->last = job;
  job->listed = true;
  ring = !waker->rung;
  if (ring) {
    waker->rung = true;
    waker->ringing = true;
    waker->owners++;
  }
  mutex_unlock(&waker->mutex);
  return ring;
}

static void
waker_ring(struct waker *waker)
{
  condition_wake(&waker->called);
  write_descriptor(waker);
  waker_let_go(waker);
}

static void
list_remove(struct waker *waker, struct job *job)
{
  *(job->previous != NULL ? &job->previous->next : &waker->first) = job->next;
  *(job->next != NULL ? &job->next->previous : &waker->last) = job->previous;
  job->listed = false;
}

static void
waker_remove(struct waker *waker, struct job *job)
{
  mutex_lock(&waker->mutex);
  if (job->listed) {
    list_remove(waker, job);
  }
  mutex_unlock(&waker->mutex);
}

struct job *
waker_take(struct waker *waker)
{
  struct job *job;

  mutex_lock(&waker->mutex);
  job = waker->first;
  if (job != NULL) {
    list_remove(waker, job);
  }
  mutex_unlock(&waker->mutex);
  return job;
}

void
waker_let_go(struct waker *waker)
{
  bool last;

  if (waker->process != process) {
    close_descriptors(waker); /* this process's own; the rest may be in any state */
    return;
  }
  mutex_lock(&waker->mutex);
  last = --waker->owners == 0;
  mutex_unlock(&waker->mutex);
  if (last) {
    close_descriptors(waker);
    condition_end(&waker->called);
    mutex_end(&waker->mutex);
    free(waker);
  }
}

bool
job_watch(struct job *job, struct waker *waker)
{
  bool done;

  mutex_lock(&job->pool->mutex);
  done = job->stage == DONE;
  if (!done) {
    job->waker = waker;
  }
  mutex_unlock(&job->pool->mutex);
  return !done;
}

/* Leaves a job to the pool, or, where it is done, takes it out of the list of its waker, so that it can be freed. Under
 * the mutex of the pool. */
static void
leave_to_pool(struct job *job)
{
  if (job->stage != DONE) {
    job->given_up = true;
    job->waker = NULL;
  } else if (job->waker != NULL) {
    waker_remove(job->waker, job);
  }
}

enum stage
job_give_up(struct job *job)
{
  struct pool *pool = job->pool;
  enum stage stage;

  mutex_lock(&pool->mutex);
  stage = (enum stage)job->stage;
  if (stage == QUEUED) {
    queue_remove(pool, job);
    leave(pool, job);
  } else {
    leave_to_pool(job);
  }
  if (stage == INSIDE) {
    job->lost = true;
    pool->lost++;
    if (pool->life == RUNNING) {
      pool->life = QUARANTINED;
    }
  }
  mutex_unlock(&pool->mutex);
  return stage;
}

bool
job_drop(struct job *job)
{
  struct pool *pool = job->pool;
  bool done;

  if (pool_is_forked(pool)) {
    return false;
  }
  mutex_lock(&pool->mutex);
  done = job->stage == DONE;
  leave_to_pool(job);
  mutex_unlock(&pool->mutex);
  return done;
}
