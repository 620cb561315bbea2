/* SPDX-License-Identifier: MIT
 *
 * The types Gate and Turn: backworks.isolation.admission.PythonGate and backworks.isolation.channels.inline.PythonTurn,
 * which say what they do.
 *
 * With an interpreter lock a gate needs no other: it is read and written only while that lock is held. Where Python has
 * no such lock, the gate's one word is atomic: the count and the marks are read and changed together, so that of a call
 * that enters and a close that stops the gate, one is first for both. A call that finds the mark and is refused takes
 * itself off the count again, as if it were leaving.
 *
 * A turn is never waited for while the interpreter lock is held, and may be given back without it. */
#ifndef BACKWORKS_ADMISSION_H
#define BACKWORKS_ADMISSION_H

#include "../binding/binding.h"

#include <pythread.h>

/* A number that threads change without a lock. */
typedef long word;

struct gate {
  PyObject_HEAD
  word calls;               /* GATE_CALL for each that is inside, and the marks */
  word most;                /* how many may be inside without asking */
  word period;              /* of the circuit breaker */
  word told;                /* whether `empty` was released */
  PyThread_type_lock empty; /* held until the gate is stopped and the last call has left */
};

enum { GATE_ATTENTIVE = 1, GATE_STOPPED = 2, GATE_CALL = 4 };

struct turn {
  PyObject_HEAD
  PyThread_type_lock lock;
  word thread;      /* whose turn it is, or 0 */
  PyObject *nested; /* makes the exception of a call that would wait for the one that it was made from */
};

extern PyType_Spec gate_spec, turn_spec;

/* Whether an object is a Gate. */
bool gate_check(PyObject *object);

/* All but turn_give run with the interpreter lock. */

/* Counts a call in. Returns whether it may go on without asking. */
bool gate_enter(struct gate *gate);

void gate_leave(struct gate *gate);

/* Whether a call has to be settled. */
bool gate_is_attentive(struct gate *gate);

/* Waits for the turn. Returns -1 with an exception. NULL is the turn of a plugin that is thread-safe. */
int turn_take(struct turn *turn);

/* Gives the turn back; with or without the interpreter lock. */
void turn_give(struct turn *turn);

#endif
