/* SPDX-License-Identifier: MIT
 *
 * Who may call a plugin now, and whether anybody still does.
 *
 * A gate counts the calls that are inside. Once it is stopped it lets nobody in, and who waits in gate_drain is told
 * when the last one has left; only then may the plugin's shutdown run. With an interpreter lock the gate needs nothing
 * else: it is read and written only while that is held. Where Python has no such lock, its one word is atomic: the count
 * and the mark that it is stopped are read and changed together, so that of a call that enters and a close that stops
 * it, one is first for both. A call that finds the mark takes itself off the count again, as if it were leaving.
 *
 * The turn is the lock of a plugin that is not thread-safe. It is taken inside of the gate, never waited for while the
 * interpreter lock is held, and may be given back without it. */
#ifndef BACKWORKS_GATE_H
#define BACKWORKS_GATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pythread.h>
#include <stdbool.h>

/* A number that threads change without a lock. */
typedef long word;

struct gate {
  word calls;               /* two for each that is inside, and one if it is stopped */
  word told;                /* whether `empty` was released */
  PyThread_type_lock empty; /* held until the gate is stopped and the last call has left */
};

struct turn {
  PyThread_type_lock lock; /* NULL if everybody may call at once */
  word thread;             /* whose turn it is, or 0 */
};

/* All but turn_give and gate_drain's waiting run with the interpreter lock. */

/* Makes an open gate. Returns -1 with a MemoryError. */
int gate_make(struct gate *gate);

void gate_end(struct gate *gate);

/* Lets a call in, unless the gate is stopped. */
bool gate_enter(struct gate *gate);

void gate_leave(struct gate *gate);

/* Lets no new call in. */
void gate_stop(struct gate *gate);

/* Waits at most so many microseconds (-1: as long as it takes), after gate_stop, until no call is inside. Returns
 * whether that is so, which it may deny too early, or -1 with the exception of a signal handler. */
int gate_drain(struct gate *gate, PY_TIMEOUT_T most);

/* How many calls are inside. */
long gate_inside(struct gate *gate);

/* Makes a turn that is a lock, or, for a plugin that is thread-safe, none. Returns -1 with a MemoryError. */
int turn_make(struct turn *turn, bool thread_safe);

void turn_end(struct turn *turn);

/* Waits for the turn. Returns 0 when it is this thread's, 1 if it was before, which would wait for itself, or -1 with
 * the exception of a signal handler. */
int turn_take(struct turn *turn);

/* Gives the turn back; with or without the interpreter lock. */
void turn_give(struct turn *turn);

#endif
