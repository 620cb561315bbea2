/* SPDX-License-Identifier: MIT
 *
 * Threads that run the calls of one plugin instance, without the interpreter: nothing here knows Python. pool_type.c is
 * what Python sees of it.
 *
 * Theory of operation. A job is *queued*, then *inside* while a thread of the pool runs it, then *done*. Until it is
 * done it belongs to the pool; from then on to whoever submitted it, unless that has let go of it before: then it goes
 * to the rubbish, for somebody with the interpreter lock to sweep. All that changes under the mutex of the pool. What a
 * caller or an idle thread polls for a moment before it sleeps is a signpost, read without the mutex.
 *
 * The life of the instance is that of backworks/isolation/admission.py, with the states of a quarantine. */
#ifndef BACKWORKS_POOL_H
#define BACKWORKS_POOL_H

#include "threads.h"

enum stage { QUEUED, INSIDE, DONE };
enum life { RUNNING, QUARANTINED, CLOSING, CLOSED, ABANDONED };

struct pool;
struct waker;

/* One call. Whoever submits it embeds it. */
struct job {
  struct job *previous, *next; /* in the queue of the pool, in the list of a waker, or in the rubbish */
  struct pool *pool;
  struct waker *waker; /* whom to tell when it is done, or NULL */
  signpost stage;
  bool sleeping; /* its caller sleeps on `done` */
  bool given_up; /* nobody will take its answer */
  bool lost;     /* it overran */
  bool late;     /* its time was over before a thread was free: it was not run */
  bool listed;   /* it is in the list of its waker */
  bool nested;   /* a thread of the pool has submitted it, from inside of another job */
  uint64_t until; /* of clock_now(); 0: no limit */
  thread_condition done;
  void (*run)(struct job *job, uint64_t time_left);
  void (*forget)(struct job *job); /* frees what the plugin allocated for a job that was given up */
};

/* Makes a pool of at most `size` threads. NULL: no memory. */
struct pool *pool_make(unsigned size);

/* Lets go of the pool: its threads end after what is queued, and the last one frees it. */
void pool_let_go(struct pool *pool);

enum life pool_life(struct pool *pool);

/* How many jobs were submitted and are not done. */
size_t pool_inside(struct pool *pool);

/* Whether a job was queued, or what refuses it: the life of the instance, or one of these. NESTED: a thread of this pool
 * asks, and if it waited as well, no thread would be left that could answer any of them. NO_THREAD: the system does not
 * give one. FORKED: the pool is another process's. */
enum submitted { SUBMITTED = RUNNING, NESTED = ABANDONED + 1, NO_THREAD, FORKED };

/* Queues a job and sees to it that a thread comes for it. The caller sets done, run, forget and until; the rest
 * is set here. */
enum submitted pool_submit(struct pool *pool, struct job *job);

/* Whether polling for the end of this job for a moment is likely to see it. */
bool job_is_near(const struct job *job);

/* Polls for a moment. Returns whether the job is done. */
bool job_poll(const struct job *job);

/* Sleeps until the job is done, for at most so many nanoseconds. Returns whether it is. */
bool job_sleep(struct job *job, uint64_t nanoseconds);

/* Has the waker told when the job is done. Returns false if it is done already; then nobody is told. */
bool job_watch(struct job *job, struct waker *waker);

/* Notes that a caller has the answer of a job, and may call again. */
void job_taken(struct job *job);

/* Gives up a job whose time is over. Returns where it was: QUEUED: it will not run, and belongs to the caller again.
 * INSIDE: the instance is quarantined until it returns, and the job belongs to the pool. DONE: it is the caller's. */
enum stage job_give_up(struct job *job);

/* Lets go of a job: its answer is dropped. Returns whether it is done, and so the caller's to free. */
bool job_drop(struct job *job);

/* Lets no new job in and waits at most so many nanoseconds for those inside, or only until something changes. */
enum closing { NOT_YET, EMPTY, NOT_OURS };
enum closing pool_close(struct pool *pool, bool *first, uint64_t nanoseconds);

/* Ends closing: the instance is shut down, or left behind. */
void pool_closed(struct pool *pool, bool shut_down);

/* Takes one job out of the rubbish of all pools, or NULL. */
struct job *rubbish_take(void);

/* Whether this is a child of the process that made it, where its threads are not. */
bool pool_is_forked(const struct pool *pool);

/* Registers what happens at a fork; once. */
void pool_setup(void);

/* Tells an event loop, through a file descriptor, that jobs are done. NULL with errno set: no descriptor. */
struct waker *waker_make(void);

/* The descriptor that is readable when jobs are done; -1 where event loops watch none. */
int waker_descriptor(const struct waker *waker);

/* Makes the descriptor unreadable, until a job is added after that. */
void waker_clear(struct waker *waker);

/* Waits until jobs are done, for about so many nanoseconds at most: for who has no descriptor. Returns whether there may
 * be some. */
bool waker_wait(struct waker *waker, uint64_t nanoseconds);

/* Takes one job that is done out of the list, or NULL. */
struct job *waker_take(struct waker *waker);

/* Lets go of it; the last one frees it. */
void waker_let_go(struct waker *waker);

#endif
