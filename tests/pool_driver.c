/* SPDX-License-Identifier: MIT
 *
 * Uses native/fastpath/threadpool.c from several threads at once, as pool_type.c does, and exits with 0 if every job
 * ended exactly once. Built with sanitizers by test_threads.py. */
#include "threadpool.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { CALLERS = 4, CALLS = 4000 };

struct work {
  struct job job;
  unsigned question, answer;
};

static shared_long callers, run, discarded, taken_back, nested, refused;
static struct pool *pool;

static void
count(shared_long *number)
{
  (void)__atomic_fetch_add(number, 1, __ATOMIC_RELAXED);
}

static void
discard(struct job *job)
{
  (void)job;
  count(&discarded);
}

static void answer(struct job *job, uint64_t time_left);

static void
finish(struct work *work)
{
  condition_destroy(&work->job.done);
  free(work);
}

/* Submits a job. Returns NULL if the pool rejects it: because it would wait for itself, or an abandoned job overran. */
static struct work *
submit(unsigned question)
{
  struct work *work = calloc(1, sizeof *work);
  enum submitted submitted;

  assert(work != NULL);
  condition_init(&work->job.done);
  work->job.run = answer;
  work->job.discard = discard;
  work->question = question;
  submitted = pool_submit(pool, &work->job);
  if (submitted == SUBMITTED) {
    return work;
  }
  assert(submitted == NESTED || submitted == QUARANTINED);
  finish(work);
  return NULL;
}

static void
wait_for(struct work *work)
{
  if (!job_poll(&work->job)) {
    while (!job_sleep(&work->job, NANOSECONDS)) {
    }
  }
  assert(work->answer == work->question + 1);
  finish(work);
}

static void
answer(struct job *job, uint64_t time_left)
{
  struct work *work = (struct work *)job, *inner;

  (void)time_left;
  if (work->question % 5 == 0 && work->question < CALLS) { /* a nested call of the same pool */
    inner = submit(CALLS + 1);
    count(inner != NULL ? &nested : &refused);
    if (inner != NULL) {
      wait_for(inner);
    }
  }
  work->answer = work->question + 1;
  count(&run);
}

static void
free_orphans(void)
{
  struct job *job;

  while ((job = orphans_take()) != NULL) {
    finish((struct work *)job);
  }
}

/* Abandons a job in whatever stage it is. */
static void
abandon(struct work *work, bool overran)
{
  enum stage stage = job_reclaim(&work->job, overran);

  if (stage == QUEUED) {
    count(&taken_back);
  }
  if (stage != RUNNING) {
    finish(work);
  }
}

/* Waits for some jobs, has a waker report others, and abandons the rest. */
static thread_result THREAD_CALL
call(void *unused)
{
  struct waker *waker = waker_make();
  unsigned i, reported = 0, watched = 0;

  (void)unused;
  assert(waker != NULL);
  for (i = 0; i < CALLS; i++) {
    struct work *work;
    while ((work = submit(i)) == NULL) {
      (void)sched_yield();
    }
    if (i % 7 == 0 || i % 11 == 0) {
      abandon(work, i % 11 == 0);
    } else if (i % 13 == 0) { /* reclaimed at its deadline while it is in the waker's list */
      (void)job_watch(&work->job, waker);
      while (!job_sleep(&work->job, NANOSECONDS)) {
      }
      assert(job_reclaim(&work->job, true) == DONE);
      finish(work);
    } else if (i % 3 == 0 && job_watch(&work->job, waker)) {
      watched++;
    } else {
      wait_for(work);
    }
    while (reported < watched && (i % 64 == 0 || i == CALLS - 1)) {
      struct job *job;
      (void)waker_wait(waker, NANOSECONDS / 100);
      waker_clear(waker);
      while ((job = waker_take(waker)) != NULL) {
        assert(job_reclaim(job, false) == DONE);
        finish((struct work *)job);
        reported++;
      }
    }
    free_orphans();
  }
  waker_release(waker);
  (void)__atomic_fetch_sub(&callers, 1, __ATOMIC_RELEASE);
  return (thread_result)0;
}

int
main(void)
{
  int i;

  pool_setup();
  pool = pool_make(3);
  callers = CALLERS;
  for (i = 0; i < CALLERS; i++) {
    if (!thread_start(call, NULL)) {
      return 2;
    }
  }
  while (LOAD_ACQUIRE(&callers) > 0) {
    (void)sched_yield();
  }
  while (!pool_wait(pool, NANOSECONDS)) {
  }
  free_orphans();
  assert(pool_in_flight(pool) == 0 && pool_overran(pool) == 0);
  pool_release(pool);
  assert(nested > 0);
  printf("%ld of %d jobs ended\n", (long)(run + taken_back - nested), CALLERS * CALLS);
  return 0;
}
