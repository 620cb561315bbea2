/* SPDX-License-Identifier: MIT
 *
 * Threads that run the calls of one plugin instance, without the interpreter: nothing here knows Python, and no thread
 * here ever waits for it. pool_type.c is what Python sees of it. Which calls may enter, and when an instance is closed,
 * is decided before a call comes here (admission.h).
 *
 * Theory of operation. A job has one owner at a time, which its stage names. One mutex, for all pools, guards all that
 * is in this file; it is held for some dozens of instructions, and never while a plugin or Python runs.
 *
 *   stage   owner          what the submitter may do                  what comes next
 *   QUEUED  the pool       wait, watch; leave: the job is its again,  a thread takes it: INSIDE
 *                          and never runs
 *   INSIDE  a thread       wait, watch; leave: the job is LEFT        it has run: DONE
 *   LEFT    a thread       nothing                                    it has run: rubbish, whose owner is the one that
 *                                                                     takes it from there
 *   DONE    the submitter  everything, after leaving a job that has   it is freed
 *                          a waker, which may have it in its list
 *
 * Only `stage` and the length of the queue are also read without the mutex, by a thread that polls for a moment before
 * it sleeps. */
#ifndef BACKWORKS_POOL_H
#define BACKWORKS_POOL_H

#include "threads.h"

enum stage { QUEUED, INSIDE, LEFT, DONE };

struct pool;
struct waker;

/* One call. The submitter embeds it. */
struct job {
  void (*run)(struct job *job, uint64_t time_left);
  void (*forget)(struct job *job); /* frees what the plugin allocated for a job that was left */
  uint64_t until;                  /* of clock_now(); 0: no limit */
  thread_condition done;
  /* The submitter sets what is above, pool_submit the rest. */
  struct job *previous, *next;
  struct list *list; /* in which it is: a queue, what a waker reports, the rubbish; or NULL */
  struct pool *pool;
  struct waker *waker; /* what reports that it is done, or NULL */
  signpost stage;
  bool sleeping; /* its submitter sleeps on `done` */
  bool overran;  /* it was left because its time was over */
  bool late;     /* its time was over before a thread was free: it was not run */
  bool nested;   /* a thread of the pool has submitted it, from inside of another job */
  bool is_near;  /* polling for its end is likely to see it */
};

/* Sets up all of this, once. */
void pool_setup(void);

/* Makes a pool of at most `size` threads. NULL: no memory. */
struct pool *pool_make(unsigned size);

/* Has the threads end after what is queued. */
void pool_close(struct pool *pool);

/* Closes the pool, which is freed when its last thread has ended. */
void pool_let_go(struct pool *pool);

/* Returns whether this is a child of the process that made the pool, where its threads are not. */
bool pool_is_inherited(const struct pool *pool);

/* How many jobs are queued or run. */
size_t pool_in_flight(struct pool *pool);

/* How many jobs overran, were left, and still run. While there are any, no other job may come. */
size_t pool_overran(struct pool *pool);

/* Waits, for about so many nanoseconds at most, until no job is queued or runs. Returns whether that is so. */
bool pool_wait(struct pool *pool, uint64_t nanoseconds);

/* Whether a job was queued, or why not. NESTED: a thread of this pool asks, and if it waited as well, no thread would be
 * left that could run any of their jobs. NO_THREAD: the system does not give one. */
enum submitted { SUBMITTED, QUARANTINED, NESTED, NO_THREAD, INHERITED };

/* Queues a job and sees to it that a thread comes for it. */
enum submitted pool_submit(struct pool *pool, struct job *job);

/* Polls for a moment, where that has helped lately. Returns whether the job is done. */
bool job_poll(const struct job *job);

/* Sleeps until the job is done, for at most so many nanoseconds. Returns whether it is. */
bool job_sleep(struct job *job, uint64_t nanoseconds);

/* Has the waker report the job when it is done. Returns false if it is done already, and is not reported. */
bool job_watch(struct job *job, struct waker *waker);

/* Ends waiting; `overran`: if the job is not done, because its time is over. Returns the stage in which it was: after
 * INSIDE it is not the submitter's any more, after QUEUED and DONE it is. */
enum stage job_leave(struct job *job, bool overran);

/* Takes one job out of the rubbish of all pools, or NULL. */
struct job *rubbish_take(void);

/* Tells an event loop, through a file descriptor, that jobs are done. NULL with errno set: no descriptor. */
struct waker *waker_make(void);

/* The descriptor that is readable when jobs are done; -1 where event loops watch none. */
int waker_descriptor(const struct waker *waker);

/* Waits until jobs are done, for about so many nanoseconds at most: for event loops that watch no descriptor. Returns
 * whether there may be some. */
bool waker_wait(struct waker *waker, uint64_t nanoseconds);

/* Has the waker tell of jobs that are done after this. */
void waker_clear(struct waker *waker);

/* Takes one job that is done, or NULL. */
struct job *waker_take(struct waker *waker);

/* Frees the waker; no job is watched any more. */
void waker_let_go(struct waker *waker);

#endif
