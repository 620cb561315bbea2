/* SPDX-License-Identifier: MIT
 *
 * Threads that run the calls of one plugin instance without Python: nothing here uses the interpreter, and no thread
 * waits for it. pool_type.c wraps it for Python. Admission and the closing of an instance are decided before a call
 * gets here (admission.h).
 *
 * Theory of operation. A job has one owner at a time, named by its stage. One mutex, shared by all pools, guards the
 * state in this file. It is held for a few dozen instructions, and never while a plugin or Python runs.
 *
 *   stage      owner          what the submitter may do              next
 *   QUEUED     the pool       wait, watch; reclaim: the job never    a thread takes it: RUNNING
 *                             runs, and is the submitter's again
 *   RUNNING    a thread       wait, watch; reclaim: ABANDONED        it returns: DONE
 *   ABANDONED  a thread       nothing                                it returns: an orphan, owned by whoever takes it
 *                                                                    from the list of orphans
 *   DONE       the submitter  anything; a watched job may still be   it is freed
 *                             in its waker's list: reclaim it first
 *
 * Only `stage` and the length of the queue are also read without the mutex, by a thread that polls briefly before it
 * sleeps. */
#ifndef BACKWORKS_POOL_H
#define BACKWORKS_POOL_H

#include "threads.h"

enum stage { QUEUED, RUNNING, ABANDONED, DONE };

struct pool;
struct waker;

/* One call. The submitter embeds it. */
struct job {
  void (*run)(struct job *job, uint64_t time_left);
  void (*discard)(struct job *job); /* frees what the plugin allocated for an abandoned job */
  uint64_t deadline;                /* in the time of clock_now(); 0: no limit */
  thread_condition done;
  /* The submitter sets the members above, pool_submit the ones below. */
  struct job *previous, *next;
  struct list *list; /* that contains it: a queue, a waker's list, the orphans; or NULL */
  struct pool *pool;
  struct waker *waker; /* to notify when it is done, or NULL */
  shared_long stage;
  bool sleeping;      /* its submitter sleeps on `done` */
  bool overran;       /* it was abandoned at its deadline */
  bool late;          /* no thread was free before its deadline: it was not run */
  bool nested;        /* a thread of the same pool submitted it, from another job */
  bool worth_polling; /* it is likely to end within a short poll */
};

/* Initializes the module; later calls do nothing. */
void pool_setup(void);

/* Makes a pool of at most `size` threads. Returns NULL if there is no memory. */
struct pool *pool_make(unsigned size);

/* Ends the threads once the queue is empty. Does not wait. */
void pool_close(struct pool *pool);

/* Closes the pool and frees it when its last thread has ended. */
void pool_release(struct pool *pool);

/* Returns whether the pool was made before a fork, so that this process has none of its threads. */
bool pool_is_inherited(const struct pool *pool);

/* Returns the number of jobs that are queued or running. */
size_t pool_in_flight(struct pool *pool);

/* Returns the number of running jobs that were abandoned at their deadline. The pool rejects new jobs while there are
 * any. */
size_t pool_overran(struct pool *pool);

/* Waits until no job is queued or running, for about `nanoseconds` at most. Returns whether the pool is empty. */
bool pool_wait(struct pool *pool, uint64_t nanoseconds);

/* Whether a job was queued, or why not. NESTED: every other thread of the pool already waits for a job of the same
 * pool; if the caller waited too, none of them could run. NO_THREAD: the system cannot start one. */
enum submitted { SUBMITTED, QUARANTINED, NESTED, NO_THREAD, INHERITED };

/* Queues a job, and wakes or starts a thread if one is needed. */
enum submitted pool_submit(struct pool *pool, struct job *job);

/* Polls briefly if recent calls suggest that this helps. Returns whether the job is done. */
bool job_poll(const struct job *job);

/* Sleeps until the job is done, for at most `nanoseconds`. Returns whether it is done. */
bool job_sleep(struct job *job, uint64_t nanoseconds);

/* Registers the waker to be notified when the job is done. Returns false, without registering, if it already is. */
bool job_watch(struct job *job, struct waker *waker);

/* Ends the wait for a job. `overran`: the deadline has passed. Returns the stage that the job was in. After QUEUED and
 * DONE the submitter owns the job; after RUNNING the job is abandoned and must not be used. */
enum stage job_reclaim(struct job *job, bool overran);

/* Takes one abandoned job that has ended, of any pool, or NULL. */
struct job *orphans_take(void);

/* Makes a waker, which notifies an event loop through a file descriptor when jobs are done. Returns NULL with errno set
 * if there is no descriptor. */
struct waker *waker_make(void);

/* Returns the descriptor that is readable when jobs are done, or -1 where event loops cannot watch descriptors. */
int waker_descriptor(const struct waker *waker);

/* Waits until jobs are done, for about `nanoseconds` at most: for event loops that cannot watch descriptors. Returns
 * whether jobs may be done. */
bool waker_wait(struct waker *waker, uint64_t nanoseconds);

/* Resets the waker, so that the next job that is done notifies the event loop again. */
void waker_clear(struct waker *waker);

/* Takes one job that is done, or NULL. */
struct job *waker_take(struct waker *waker);

/* Frees the waker. No job may be watched any more. */
void waker_release(struct waker *waker);

#endif
