/* SPDX-License-Identifier: MIT */
#include "threadpool.h"

#include <errno.h>
#include <stdlib.h>

/* What it takes to wake a thread that sleeps, in nanoseconds: 5 to 50 microseconds, by processor and system. A thread that
 * polls for that long before it sleeps never loses more than as much again. Both sides do, but only where that has been
 * likely to help lately: where calls take less, and where callers are back within a third of it. A caller that does other
 * work between its calls, such as a server, needs the processor for that. */
#define WAKE_UP 30000
#define SHORT_PAUSE (WAKE_UP / 3)

struct list {
  struct job *first, *last;
};

struct pool {
  struct list queue;
  signpost queued;         /* how many are in it */
  size_t running;          /* jobs that threads run */
  size_t overran, nested;  /* jobs of these kinds */
  unsigned threads, size;
  unsigned asleep;         /* threads that sleep and were not woken */
  unsigned woken;          /* threads that were woken and still sleep */
  bool polling;            /* a thread polls for a job */
  bool closed, let_go;
  bool polls;              /* there is more than one processor */
  uint64_t cost, pause;    /* moving averages in nanoseconds: of a call, and from an answer to the next call */
  uint64_t taken;          /* when the last answer was taken; 0: a call has come since */
  thread_condition work;   /* for threads that sleep */
  thread_condition empty;  /* for pool_wait, of one thread */
  unsigned process;
};

struct waker {
  struct list done;
  thread_condition called; /* for waker_wait */
  unsigned users;          /* who made it, and each thread that is about to ring */
  bool rung;               /* the loop was told, or is about to be */
  bool calling;            /* the same for waker_wait */
  struct bell bell;
  unsigned process;
};

static thread_mutex mutex;
static struct list rubbish;

/* How many forks lie between the first process and this one. */
static unsigned process;

/* The pool that the thread belongs to, or NULL. */
static THREAD_LOCAL struct pool *of_thread;

/* In the child no other thread runs, and one that held the mutex is not there to unlock it: all that was made before is
 * left alone. */
static void
forked(void)
{
  process++;
  mutex_make(&mutex);
  rubbish.first = rubbish.last = NULL;
}

void
pool_setup(void)
{
  static bool done;

  if (!done) {
    done = true;
    mutex_make(&mutex);
    after_fork(forked);
  }
}

/* Lists */

static void
list_add(struct list *list, struct job *job)
{
  job->list = list;
  job->previous = list->last;
  job->next = NULL;
  *(list->last != NULL ? &list->last->next : &list->first) = job;
  list->last = job;
}

/* Takes the job out of its list; does nothing if it is in none. */
static void
list_remove(struct job *job)
{
  struct list *list = job->list;

  if (list != NULL) {
    *(job->previous != NULL ? &job->previous->next : &list->first) = job->next;
    *(job->next != NULL ? &job->next->previous : &list->last) = job->previous;
    job->list = NULL;
  }
}

/* Takes the first job, or NULL, under the mutex that is not held yet. */
static struct job *
list_take(struct list *list)
{
  struct job *job;

  mutex_lock(&mutex);
  job = list->first;
  if (job != NULL) {
    list_remove(job);
  }
  mutex_unlock(&mutex);
  return job;
}

struct job *
rubbish_take(void)
{
  return list_take(&rubbish);
}

/* Polling */

/* Adds a sample to a moving average of about eight, of which it only matters whether it is below the limit. So a single
 * outlier, which means little, adds no more than the limit itself. */
static void
average(uint64_t *mean, uint64_t sample, uint64_t limit)
{
  *mean += (sample < limit * 8 ? sample : limit * 8) / 8;
  *mean -= *mean / 8;
}

/* Polls until a number is at least `least`, for as long as it takes to wake a thread. Without the mutex. */
static bool
poll(const signpost *at, long least)
{
  uint64_t end = clock_now() + WAKE_UP;
  int i;

  do {
    for (i = 0; i < 16; i++) {
      if (SIGNPOST_GET(at) >= least) {
        return true;
      }
      spin_pause();
    }
  } while (clock_now() < end);
  return false;
}

/* The threads. All of this runs under the mutex, which some of it unlocks for a while. */

/* Polls for a job, if no other thread does. */
static void
poll_for_job(struct pool *pool)
{
  if (pool->polls && !pool->polling && pool->pause < SHORT_PAUSE) {
    pool->polling = true;
    mutex_unlock(&mutex);
    (void)poll(&pool->queued, 1);
    mutex_lock(&mutex);
    pool->polling = false;
  }
}

/* Sleeps until woken. */
static void
sleep_for_job(struct pool *pool)
{
  pool->asleep++;
  while (pool->woken == 0) {
    condition_wait(&pool->work, &mutex);
  }
  pool->woken--;
}

/* Wakes threads that sleep. */
static void
wake(struct pool *pool, unsigned count)
{
  pool->asleep -= count;
  pool->woken += count;
  while (count-- > 0) {
    condition_wake(&pool->work);
  }
}

static bool
is_idle(const struct pool *pool)
{
  return pool->queued == 0 && !pool->closed;
}

/* Returns the next job, or NULL if the thread has to end. */
static struct job *
next_job(struct pool *pool)
{
  struct job *job;

  while (is_idle(pool)) {
    poll_for_job(pool);
    if (is_idle(pool)) {
      sleep_for_job(pool);
    }
  }
  job = pool->queue.first;
  if (job != NULL) {
    list_remove(job);
    SIGNPOST_SET(&pool->queued, pool->queued - 1);
    pool->running++;
    SIGNPOST_SET(&job->stage, INSIDE);
  }
  return job;
}

/* How many jobs are queued or run. */
static size_t
in_flight(const struct pool *pool)
{
  return (size_t)pool->queued + pool->running;
}

/* Notes that a job has left. */
static void
leave(struct pool *pool, const struct job *job)
{
  pool->nested -= job->nested;
  pool->overran -= job->overran;
  if (in_flight(pool) == 0) {
    condition_wake(&pool->empty);
  }
}

/* Reports a job to its waker. Returns the waker if the caller has to ring it: without the mutex, because that takes
 * microseconds. */
static struct waker *
report(struct job *job)
{
  struct waker *waker = job->waker;

  if (waker == NULL) {
    return NULL;
  }
  list_add(&waker->done, job);
  if (waker->rung) {
    return NULL;
  }
  waker->rung = waker->calling = true;
  waker->users++;
  return waker;
}

static void
ring(struct waker *waker)
{
  condition_wake(&waker->called);
  bell_ring(&waker->bell);
  waker_let_go(waker);
}

/* Hands a job back to its submitter. */
static void
finish(struct job *job)
{
  struct waker *waker = report(job);

  if (job->sleeping) {
    condition_wake(&job->done);
  }
  SIGNPOST_SET(&job->stage, DONE); /* from here on it is the submitter's */
  if (waker != NULL) {
    mutex_unlock(&mutex);
    ring(waker);
    mutex_lock(&mutex);
  }
}

static void
run_job(struct pool *pool, struct job *job)
{
  uint64_t start = clock_now(), took;

  mutex_unlock(&mutex);
  job->late = job->until != 0 && start >= job->until;
  if (!job->late) {
    job->run(job, job->until != 0 ? job->until - start : 0);
  }
  took = clock_now() - start;
  mutex_lock(&mutex);
  average(&pool->cost, took, WAKE_UP);
  if (job->stage == LEFT) {
    mutex_unlock(&mutex);
    job->forget(job); /* may log, and so wait for a thread that waits for the mutex */
    mutex_lock(&mutex);
    list_add(&rubbish, job);
  }
  pool->running--;
  leave(pool, job);
  if (job->stage != LEFT) {
    finish(job);
  }
}

/* Frees a pool that was let go, once it has no thread. Unlocks the mutex. */
static void
unlock_and_free(struct pool *pool)
{
  bool is_unused = pool->let_go && pool->threads == 0;

  mutex_unlock(&mutex);
  if (is_unused) {
    condition_end(&pool->empty);
    condition_end(&pool->work);
    free(pool);
  }
}

static thread_result THREAD_CALL
work(void *argument)
{
  struct pool *pool = argument;
  struct job *job;

  of_thread = pool;
  mutex_lock(&mutex);
  while ((job = next_job(pool)) != NULL) {
    run_job(pool, job);
  }
  pool->threads--;
  unlock_and_free(pool);
  return (thread_result)0;
}

/* The pool */

struct pool *
pool_make(unsigned size)
{
  struct pool *pool = calloc(1, sizeof *pool);

  if (pool != NULL) {
    condition_make(&pool->work);
    condition_make(&pool->empty);
    pool->size = size;
    pool->polls = processors() > 1;
    pool->process = process;
  }
  return pool;
}

bool
pool_is_inherited(const struct pool *pool)
{
  return pool->process != process;
}

static void
close_and_unlock(struct pool *pool)
{
  pool->closed = true;
  wake(pool, pool->asleep);
  unlock_and_free(pool);
}

void
pool_close(struct pool *pool)
{
  if (!pool_is_inherited(pool)) {
    mutex_lock(&mutex);
    close_and_unlock(pool);
  }
}

void
pool_let_go(struct pool *pool)
{
  if (!pool_is_inherited(pool)) {
    mutex_lock(&mutex);
    pool->let_go = true;
    close_and_unlock(pool);
  }
}

size_t
pool_in_flight(struct pool *pool)
{
  size_t count;

  mutex_lock(&mutex);
  count = pool_is_inherited(pool) ? 0 : in_flight(pool);
  mutex_unlock(&mutex);
  return count;
}

size_t
pool_overran(struct pool *pool)
{
  size_t count;

  mutex_lock(&mutex);
  count = pool->overran;
  mutex_unlock(&mutex);
  return count;
}

bool
pool_wait(struct pool *pool, uint64_t nanoseconds)
{
  bool is_empty;

  mutex_lock(&mutex);
  if (in_flight(pool) > 0 && nanoseconds > 0) {
    condition_wait_for(&pool->empty, &mutex, nanoseconds);
  }
  is_empty = in_flight(pool) == 0;
  mutex_unlock(&mutex);
  return is_empty;
}

/* Sees to it that a thread comes for what is queued. Returns whether one does, at some time. */
static bool
call_thread(struct pool *pool)
{
  size_t coming = pool->threads - pool->asleep - pool->running; /* they poll, were woken, or were started */

  if ((size_t)pool->queued <= coming) {
    return true;
  }
  if (pool->asleep > 0) {
    wake(pool, 1);
  } else if (pool->threads < pool->size) {
    pool->threads++;
    if (!thread_start(work, pool)) {
      pool->threads--;
    }
  }
  return pool->threads > pool->nested; /* otherwise all of them wait for jobs of their own */
}

static enum submitted
submit(struct pool *pool, struct job *job)
{
  if (pool->overran > 0) {
    return QUARANTINED;
  }
  if (job->nested && pool->nested + 1 >= pool->size) {
    return NESTED;
  }
  pool->nested += job->nested;
  list_add(&pool->queue, job);
  SIGNPOST_SET(&pool->queued, pool->queued + 1);
  if (!call_thread(pool)) {
    list_remove(job);
    SIGNPOST_SET(&pool->queued, pool->queued - 1);
    leave(pool, job);
    return NO_THREAD;
  }
  if (pool->taken != 0) {
    average(&pool->pause, clock_now() - pool->taken, SHORT_PAUSE);
    pool->taken = 0;
  }
  job->is_near = pool->polls && pool->cost < WAKE_UP && pool->pause < SHORT_PAUSE;
  return SUBMITTED;
}

enum submitted
pool_submit(struct pool *pool, struct job *job)
{
  enum submitted submitted;

  if (pool_is_inherited(pool)) {
    return INHERITED;
  }
  job->pool = pool;
  job->list = NULL;
  job->waker = NULL;
  job->stage = QUEUED;
  job->sleeping = job->overran = job->late = false;
  job->nested = of_thread == pool;
  mutex_lock(&mutex);
  submitted = submit(pool, job);
  mutex_unlock(&mutex);
  return submitted;
}

/* The submitter's side of a job */

bool
job_poll(const struct job *job)
{
  return job->is_near && poll(&job->stage, DONE);
}

bool
job_sleep(struct job *job, uint64_t nanoseconds)
{
  bool is_done;

  mutex_lock(&mutex);
  if (job->stage != DONE && nanoseconds > 0) {
    job->sleeping = true;
    condition_wait_for(&job->done, &mutex, nanoseconds);
    job->sleeping = false;
  }
  is_done = job->stage == DONE;
  mutex_unlock(&mutex);
  return is_done;
}

bool
job_watch(struct job *job, struct waker *waker)
{
  bool is_done;

  mutex_lock(&mutex);
  is_done = job->stage == DONE;
  if (!is_done) {
    job->waker = waker;
  }
  mutex_unlock(&mutex);
  return !is_done;
}

/* What job_leave does, by stage. */
static void
leave_job(struct pool *pool, struct job *job, bool overran)
{
  switch (job->stage) {
  case QUEUED:
    list_remove(job);
    SIGNPOST_SET(&pool->queued, pool->queued - 1);
    leave(pool, job);
    break;
  case INSIDE:
    SIGNPOST_SET(&job->stage, LEFT);
    job->overran = overran;
    pool->overran += overran;
    break;
  default:
    list_remove(job);
    pool->taken = clock_now();
  }
}

enum stage
job_leave(struct job *job, bool overran)
{
  enum stage stage = INSIDE;

  if (!pool_is_inherited(job->pool)) {
    mutex_lock(&mutex);
    stage = (enum stage)job->stage;
    leave_job(job->pool, job, overran);
    mutex_unlock(&mutex);
  }
  return stage;
}

/* The waker */

struct waker *
waker_make(void)
{
  struct waker *waker = calloc(1, sizeof *waker);

  if (waker == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  if (!bell_make(&waker->bell)) {
    free(waker);
    return NULL;
  }
  condition_make(&waker->called);
  waker->users = 1;
  waker->process = process;
  return waker;
}

int
waker_descriptor(const struct waker *waker)
{
  return waker->bell.descriptor;
}

bool
waker_wait(struct waker *waker, uint64_t nanoseconds)
{
  bool calling;

  mutex_lock(&mutex);
  if (!waker->calling) {
    condition_wait_for(&waker->called, &mutex, nanoseconds);
  }
  calling = waker->calling;
  waker->calling = false;
  mutex_unlock(&mutex);
  return calling;
}

void
waker_clear(struct waker *waker)
{
  bell_clear(&waker->bell);
  mutex_lock(&mutex);
  waker->rung = false;
  mutex_unlock(&mutex);
}

struct job *
waker_take(struct waker *waker)
{
  return list_take(&waker->done);
}

void
waker_let_go(struct waker *waker)
{
  bool is_inherited = waker->process != process, last;

  mutex_lock(&mutex);
  last = --waker->users == 0;
  mutex_unlock(&mutex);
  if (last || is_inherited) {
    bell_end(&waker->bell);
  }
  if (last && !is_inherited) {
    condition_end(&waker->called);
    free(waker);
  }
}
