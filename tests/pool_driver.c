/* SPDX-License-Identifier: MIT
 *
 * Calls native/fastpath/threadpool.c from several threads at once, as pool_type.c does, and ends with 0 if every job came back
 * once. Made for sanitizers: see test_threads.py. */
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

static signpost callers, run, forgotten, taken_back, nested, refused;
static struct pool *pool;

static void
count(signpost *number)
{
  (void)__atomic_fetch_add(number, 1, __ATOMIC_RELAXED);
}

static void
forget(struct job *job)
{
  (void)job;
  count(&forgotten);
}

static void answer(struct job *job, uint64_t time_left);

static void
finish(struct work *work)
{
  condition_end(&work->job.done);
  free(work);
}

/* Returns a job that the pool has taken, or NULL: it takes none that would wait for itself, nor any while one is lost. */
static struct work *
submit(unsigned question)
{
  struct work *work = calloc(1, sizeof *work);
  enum submitted submitted;

  assert(work != NULL);
  condition_make(&work->job.done);
  work->job.run = answer;
  work->job.forget = forget;
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
  if (work->question % 5 == 0 && work->question < CALLS) { /* calls its own pool, once */
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
sweep(void)
{
  struct job *job;

  while ((job = rubbish_take()) != NULL) {
    finish((struct work *)job);
  }
}

/* Leaves a job in whatever stage it is. */
static void
leave(struct work *work, bool overran)
{
  enum stage stage = job_leave(&work->job, overran);

  if (stage == QUEUED) {
    count(&taken_back);
  }
  if (stage != INSIDE) {
    finish(work);
  }
}

/* Waits for some jobs, lets a waker tell about others, leaves the rest. */
static thread_result THREAD_CALL
call(void *unused)
{
  struct waker *waker = waker_make();
  unsigned i, told = 0, watched = 0;

  (void)unused;
  assert(waker != NULL);
  for (i = 0; i < CALLS; i++) {
    struct work *work;
    while ((work = submit(i)) == NULL) {
      (void)sched_yield();
    }
    if (i % 7 == 0 || i % 11 == 0) {
      leave(work, i % 11 == 0);
    } else if (i % 13 == 0) { /* its time is over while the waker is about to tell that it is done */
      (void)job_watch(&work->job, waker);
      while (!job_sleep(&work->job, NANOSECONDS)) {
      }
      assert(job_leave(&work->job, true) == DONE);
      finish(work);
    } else if (i % 3 == 0 && job_watch(&work->job, waker)) {
      watched++;
    } else {
      wait_for(work);
    }
    while (told < watched && (i % 64 == 0 || i == CALLS - 1)) {
      struct job *job;
      (void)waker_wait(waker, NANOSECONDS / 100);
      waker_clear(waker);
      while ((job = waker_take(waker)) != NULL) {
        assert(job_leave(job, false) == DONE);
        finish((struct work *)job);
        told++;
      }
    }
    sweep();
  }
  waker_let_go(waker);
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
  while (SIGNPOST_GET(&callers) > 0) {
    (void)sched_yield();
  }
  while (!pool_wait(pool, NANOSECONDS)) {
  }
  sweep();
  assert(pool_in_flight(pool) == 0 && pool_overran(pool) == 0);
  pool_let_go(pool);
  assert(nested > 0);
  printf("%ld of %d jobs ended\n", (long)(run + taken_back - nested), CALLERS * CALLS);
  return 0;
}
