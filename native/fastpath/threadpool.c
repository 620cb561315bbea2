/* SPDX-License-Identifier: MIT */
#include "threadpool.h"

#include <errno.h>
#include <stdlib.h>

/* The time to wake a sleeping thread, in nanoseconds: 5 to 50 microseconds, depending on processor and system. A thread
 * that polls for that long before it sleeps at most doubles the delay. Both sides poll, but only if recent calls took
 * less than this and callers returned within a third of it: a caller that works between its calls, such as a server,
 * needs the processor for that work. */
#define WAKE_UP 30000
#define SHORT_PAUSE (WAKE_UP / 3)

struct list {
  struct job *first, *last;
};

struct pool {
  struct list queue;
  shared_long queued;     /* length of the queue */
  size_t running;         /* jobs in threads, including abandoned ones */
  size_t overran, nested; /* jobs of these kinds */
  unsigned threads, size;
  unsigned asleep;        /* sleeping threads that have not been signaled */
  unsigned woken;         /* sleeping threads that have been signaled */
  bool polling;           /* a thread polls for a job */
  bool closed, released;
  bool polls;             /* there is more than one processor */
  uint64_t cost, pause;   /* moving averages in nanoseconds: of a call, and between a reply and the next call */
  uint64_t idle_since;    /* when the last reply was taken; 0: a call has arrived since */
  thread_condition work;  /* wakes the pool's threads */
  thread_condition empty; /* wakes pool_wait, which at most one thread may call */
  unsigned fork_count;
};

struct waker {
  struct list done;
  thread_condition ready; /* wakes waker_wait */
  unsigned references;    /* the maker's, and one for each thread that is about to notify */
  bool notified;          /* the event loop has been notified, or is about to be */
  bool is_ready;          /* the same for waker_wait */
  struct wake_pipe pipe;
  unsigned fork_count;
};

static thread_mutex mutex;
static struct list orphans;

/* The number of forks between the first process and this one. */
static unsigned fork_count;

/* The pool of this thread, or NULL. */
static THREAD_LOCAL struct pool *current_pool;

/* In the child no other thread runs, and one that held the mutex can no longer unlock it. The child therefore makes a
 * new mutex, and does not touch what was made before the fork. */
static void
reset_in_child(void)
{
  fork_count++;
  mutex_init(&mutex);
  orphans.first = orphans.last = NULL;
}

void
pool_setup(void)
{
  static bool done;

  if (!done) {
    done = true;
    mutex_init(&mutex);
    after_fork(reset_in_child);
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

/* Removes the job from its list, if it is in one. */
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

/* Takes the first job, or NULL. Locks the mutex. */
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
orphans_take(void)
{
  return list_take(&orphans);
}

/* Polling */

/* Adds a sample to a moving average of about eight. It only matters whether the average is below the limit; a single
 * outlier therefore adds at most the limit. */
static void
add_sample(uint64_t *mean, uint64_t sample, uint64_t limit)
{
  *mean += (sample < limit * 8 ? sample : limit * 8) / 8;
  *mean -= *mean / 8;
}

/* Polls until `*at` is at least `least`, for at most the time to wake a thread. The mutex must not be held. Returns
 * whether it is. */
static bool
spin_until(const shared_long *at, long least)
{
  uint64_t end = clock_now() + WAKE_UP;
  int i;

  do {
    for (i = 0; i < 16; i++) {
      if (LOAD_ACQUIRE(at) >= least) {
        return true;
      }
      spin_pause();
    }
  } while (clock_now() < end);
  return false;
}

/* The threads. These functions are called with the mutex held; some unlock it for a while. */

/* Polls for a job unless another thread already does. */
static void
poll_for_job(struct pool *pool)
{
  if (pool->polls && !pool->polling && pool->pause < SHORT_PAUSE) {
    pool->polling = true;
    mutex_unlock(&mutex);
    (void)spin_until(&pool->queued, 1);
    mutex_lock(&mutex);
    pool->polling = false;
  }
}

/* Sleeps until wake_threads wakes this thread. */
static void
sleep_for_job(struct pool *pool)
{
  pool->asleep++;
  while (pool->woken == 0) {
    condition_wait(&pool->work, &mutex);
  }
  pool->woken--;
}

/* Wakes `count` sleeping threads. */
static void
wake_threads(struct pool *pool, unsigned count)
{
  pool->asleep -= count;
  pool->woken += count;
  while (count-- > 0) {
    condition_signal(&pool->work);
  }
}

static bool
is_idle(const struct pool *pool)
{
  return pool->queued == 0 && !pool->closed;
}

/* Takes a job out of the queue. */
static void
dequeue(struct pool *pool, struct job *job)
{
  list_remove(job);
  STORE_RELEASE(&pool->queued, pool->queued - 1);
}

/* Returns the next job, or NULL if the thread must end. */
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
    dequeue(pool, job);
    pool->running++;
    STORE_RELEASE(&job->stage, RUNNING);
  }
  return job;
}

/* Returns the number of jobs that are queued or running. */
static size_t
in_flight(const struct pool *pool)
{
  return (size_t)pool->queued + pool->running;
}

/* Updates the counters after a job that is neither queued nor running any more. */
static void
uncount(struct pool *pool, const struct job *job)
{
  pool->nested -= job->nested;
  pool->overran -= job->overran;
  if (in_flight(pool) == 0) {
    condition_signal(&pool->empty);
  }
}

/* Adds a job to its waker's list. Returns the waker if the caller must notify it, which takes microseconds and is done
 * without the mutex. */
static struct waker *
report(struct job *job)
{
  struct waker *waker = job->waker;

  if (waker == NULL) {
    return NULL;
  }
  list_add(&waker->done, job);
  if (waker->notified) {
    return NULL;
  }
  waker->notified = waker->is_ready = true;
  waker->references++;
  return waker;
}

static void
notify(struct waker *waker)
{
  condition_signal(&waker->ready);
  wake_pipe_write(&waker->pipe);
  waker_release(waker);
}

/* Returns a job to its submitter. */
static void
finish(struct job *job)
{
  struct waker *waker = report(job);

  if (job->sleeping) {
    condition_signal(&job->done);
  }
  STORE_RELEASE(&job->stage, DONE); /* from here on the submitter owns it */
  if (waker != NULL) {
    mutex_unlock(&mutex);
    notify(waker);
    mutex_lock(&mutex);
  }
}

static void
run_job(struct pool *pool, struct job *job)
{
  uint64_t start = clock_now(), elapsed;

  mutex_unlock(&mutex);
  job->late = job->deadline != 0 && start >= job->deadline;
  if (!job->late) {
    job->run(job, job->deadline != 0 ? job->deadline - start : 0);
  }
  elapsed = clock_now() - start;
  mutex_lock(&mutex);
  add_sample(&pool->cost, elapsed, WAKE_UP);
  if (job->stage == ABANDONED) {
    mutex_unlock(&mutex);
    job->discard(job); /* may log, and thereby wait for a thread that waits for the mutex */
    mutex_lock(&mutex);
    list_add(&orphans, job);
  }
  pool->running--;
  uncount(pool, job);
  if (job->stage != ABANDONED) {
    finish(job);
  }
}

/* Unlocks the mutex, and frees the pool if it was released and has no thread left. */
static void
unlock_and_free(struct pool *pool)
{
  bool is_unused = pool->released && pool->threads == 0;

  mutex_unlock(&mutex);
  if (is_unused) {
    condition_destroy(&pool->empty);
    condition_destroy(&pool->work);
    free(pool);
  }
}

static thread_result THREAD_CALL
thread_main(void *argument)
{
  struct pool *pool = argument;
  struct job *job;

  current_pool = pool;
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
    condition_init(&pool->work);
    condition_init(&pool->empty);
    pool->size = size;
    pool->polls = processor_count() > 1;
    pool->fork_count = fork_count;
  }
  return pool;
}

bool
pool_is_inherited(const struct pool *pool)
{
  return pool->fork_count != fork_count;
}

static void
end_threads(struct pool *pool, bool release)
{
  if (!pool_is_inherited(pool)) {
    mutex_lock(&mutex);
    pool->closed = true;
    pool->released |= release;
    wake_threads(pool, pool->asleep);
    unlock_and_free(pool);
  }
}

void
pool_close(struct pool *pool)
{
  end_threads(pool, false);
}

void
pool_release(struct pool *pool)
{
  end_threads(pool, true);
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

/* Wakes or starts a thread if the queue needs one. Returns whether a thread will take what is queued. */
static bool
ensure_thread(struct pool *pool)
{
  size_t available = pool->threads - pool->asleep - pool->running; /* polling, woken or just started */

  if ((size_t)pool->queued <= available) {
    return true;
  }
  if (pool->asleep > 0) {
    wake_threads(pool, 1);
  } else if (pool->threads < pool->size) {
    pool->threads++;
    if (!thread_start(thread_main, pool)) {
      pool->threads--;
    }
  }
  return pool->threads > pool->nested; /* otherwise every thread waits for a job of this pool */
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
  STORE_RELEASE(&pool->queued, pool->queued + 1);
  if (!ensure_thread(pool)) {
    dequeue(pool, job);
    uncount(pool, job);
    return NO_THREAD;
  }
  if (pool->idle_since != 0) {
    add_sample(&pool->pause, clock_now() - pool->idle_since, SHORT_PAUSE);
    pool->idle_since = 0;
  }
  job->worth_polling = pool->polls && pool->cost < WAKE_UP && pool->pause < SHORT_PAUSE;
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
  job->nested = current_pool == pool;
  mutex_lock(&mutex);
  submitted = submit(pool, job);
  mutex_unlock(&mutex);
  return submitted;
}

/* The submitter's side of a job */

bool
job_poll(const struct job *job)
{
  return job->worth_polling && spin_until(&job->stage, DONE);
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

/* Does the work of job_reclaim, with the mutex held. */
static void
reclaim(struct pool *pool, struct job *job, bool overran)
{
  switch (job->stage) {
  case QUEUED:
    dequeue(pool, job);
    uncount(pool, job);
    break;
  case RUNNING:
    STORE_RELEASE(&job->stage, ABANDONED);
    job->overran = overran;
    pool->overran += overran;
    break;
  default:
    list_remove(job);
    pool->idle_since = clock_now();
  }
}

enum stage
job_reclaim(struct job *job, bool overran)
{
  enum stage stage = RUNNING;

  if (!pool_is_inherited(job->pool)) {
    mutex_lock(&mutex);
    stage = (enum stage)job->stage;
    reclaim(job->pool, job, overran);
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
  if (!wake_pipe_open(&waker->pipe)) {
    free(waker);
    return NULL;
  }
  condition_init(&waker->ready);
  waker->references = 1;
  waker->fork_count = fork_count;
  return waker;
}

int
waker_descriptor(const struct waker *waker)
{
  return waker->pipe.descriptor;
}

bool
waker_wait(struct waker *waker, uint64_t nanoseconds)
{
  bool is_ready;

  mutex_lock(&mutex);
  if (!waker->is_ready) {
    condition_wait_for(&waker->ready, &mutex, nanoseconds);
  }
  is_ready = waker->is_ready;
  waker->is_ready = false;
  mutex_unlock(&mutex);
  return is_ready;
}

void
waker_clear(struct waker *waker)
{
  wake_pipe_drain(&waker->pipe);
  mutex_lock(&mutex);
  waker->notified = false;
  mutex_unlock(&mutex);
}

struct job *
waker_take(struct waker *waker)
{
  return list_take(&waker->done);
}

void
waker_release(struct waker *waker)
{
  bool is_inherited = waker->fork_count != fork_count, last;

  mutex_lock(&mutex);
  last = --waker->references == 0;
  mutex_unlock(&mutex);
  if (last || is_inherited) {
    wake_pipe_close(&waker->pipe);
  }
  if (last && !is_inherited) {
    condition_destroy(&waker->ready);
    free(waker);
  }
}
