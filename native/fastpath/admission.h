/* SPDX-License-Identifier: MIT
 *
 * The types Gate and Turn: compiled counterparts of backworks.isolation.admission.PythonGate and
 * backworks.isolation.channels.inline.PythonTurn, which document them.
 *
 * With an interpreter lock, a gate needs no other lock, because it is only read and written while that lock is held. In
 * free-threaded builds the gate's single word is atomic: the count and the marks are read and changed together, so that
 * a call that enters and a close that stops the gate agree on their order. A rejected call that finds the mark removes
 * itself from the count like a call that leaves.
 *
 * No thread waits for a turn while it holds the interpreter lock. A turn can be given back without that lock. */
#ifndef BACKWORKS_ADMISSION_H
#define BACKWORKS_ADMISSION_H

#include "../binding/binding.h"

#include <pythread.h>

/* A number that threads change without a lock. */
typedef long word;

struct gate {
  PyObject_HEAD
  word calls;               /* GATE_CALL for each call in flight, and the marks */
  word most;                /* how many may be in flight without asking */
  word period;              /* of the circuit breaker */
  word told;                /* whether `empty` was released */
  PyThread_type_lock empty; /* held until the gate is stopped and the last call has left */
};

enum { GATE_ATTENTIVE = 1, GATE_STOPPED = 2, GATE_CALL = 4 };

struct turn {
  PyObject_HEAD
  PyThread_type_lock lock;
  word thread;      /* the holder, or 0 */
  PyObject *nested; /* creates the exception for a call that would wait for the call from which it was made */
};

extern PyType_Spec gate_spec, turn_spec;

/* Whether an object is a Gate. */
bool gate_check(PyObject *object);

/* All functions except turn_give run with the interpreter lock. */

/* Counts a call and returns whether it may proceed without asking. */
bool gate_enter(struct gate *gate);

void gate_leave(struct gate *gate);

/* Returns whether a call must be settled. */
bool gate_is_attentive(struct gate *gate);

/* Waits for the turn. Returns -1 with an exception. A thread-safe plugin's turn is NULL. */
int turn_take(struct turn *turn);

/* Gives the turn back; with or without the interpreter lock. */
void turn_give(struct turn *turn);

#endif
