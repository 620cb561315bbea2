/* SPDX-License-Identifier: MIT */
#include "gate.h"

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define WORD_ADD(at, number) _InterlockedExchangeAdd((at), (number)) /* each returns what was there before */
#define WORD_OR(at, bits) _InterlockedOr((at), (bits))
#define WORD_SET(at, number) _InterlockedExchange((at), (number))
#define WORD_GET(at) _InterlockedOr((at), 0)
#else
#define WORD_ADD(at, number) __atomic_fetch_add((at), (number), __ATOMIC_SEQ_CST)
#define WORD_OR(at, bits) __atomic_fetch_or((at), (bits), __ATOMIC_SEQ_CST)
#define WORD_SET(at, number) __atomic_exchange_n((at), (number), __ATOMIC_SEQ_CST)
#define WORD_GET(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
#endif

enum { STOPPED = 1, ONE_CALL = 2 };

/* Adds to the count of calls; returns what it was. */
static inline word
count(struct gate *gate, word number)
{
#if defined(Py_GIL_DISABLED)
  return WORD_ADD(&gate->calls, number);
#else
  word before = gate->calls;
  gate->calls = before + number;
  return before;
#endif
}

int
gate_make(struct gate *gate)
{
  gate->calls = 0;
  gate->told = 0;
  gate->empty = PyThread_allocate_lock();
  if (gate->empty == NULL) {
    (void)PyErr_NoMemory();
    return -1;
  }
  (void)PyThread_acquire_lock(gate->empty, NOWAIT_LOCK);
  return 0;
}

void
gate_end(struct gate *gate)
{
  if (gate->empty != NULL) {
    PyThread_free_lock(gate->empty);
  }
}

/* Several may find that the gate is stopped and empty, one after the other; the first one says so. */
static void
tell(struct gate *gate)
{
  if (WORD_SET(&gate->told, 1) == 0) {
    PyThread_release_lock(gate->empty);
  }
}

void
gate_leave(struct gate *gate)
{
  if (count(gate, -ONE_CALL) == (ONE_CALL | STOPPED)) {
    tell(gate);
  }
}

bool
gate_enter(struct gate *gate)
{
  if ((count(gate, ONE_CALL) & STOPPED) == 0) {
    return true;
  }
  gate_leave(gate);
  return false;
}

void
gate_stop(struct gate *gate)
{
  if (WORD_OR(&gate->calls, STOPPED) == 0) {
    tell(gate);
  }
}

int
gate_drain(struct gate *gate, PY_TIMEOUT_T most)
{
  PyLockStatus status;

  Py_BEGIN_ALLOW_THREADS
  status = PyThread_acquire_lock_timed(gate->empty, most, 1);
  if (status == PY_LOCK_ACQUIRED) {
    PyThread_release_lock(gate->empty); /* it stays empty */
  }
  Py_END_ALLOW_THREADS
  if (status == PY_LOCK_INTR && PyErr_CheckSignals() < 0) {
    return -1;
  }
  return status == PY_LOCK_ACQUIRED;
}

long
gate_inside(struct gate *gate)
{
  return WORD_GET(&gate->calls) / ONE_CALL;
}

static word
this_thread(void)
{
  return (word)PyThread_get_thread_ident();
}

int
turn_make(struct turn *turn, bool thread_safe)
{
  turn->thread = 0;
  turn->lock = thread_safe ? NULL : PyThread_allocate_lock();
  if (turn->lock == NULL && !thread_safe) {
    (void)PyErr_NoMemory();
    return -1;
  }
  return 0;
}

void
turn_end(struct turn *turn)
{
  if (turn->lock != NULL) {
    PyThread_free_lock(turn->lock);
  }
}

/* Waits without the interpreter lock, which the thread whose turn it is may need to end it. */
static int
wait(struct turn *turn)
{
  PyLockStatus status;

  if (WORD_GET(&turn->thread) == this_thread()) {
    return 1;
  }
  do {
    Py_BEGIN_ALLOW_THREADS
    status = PyThread_acquire_lock_timed(turn->lock, -1, 1);
    Py_END_ALLOW_THREADS
    if (status != PY_LOCK_ACQUIRED && PyErr_CheckSignals() < 0) {
      return -1;
    }
  } while (status != PY_LOCK_ACQUIRED);
  return 0;
}

int
turn_take(struct turn *turn)
{
  int result = 0;

  if (turn->lock == NULL) {
    return 0;
  }
  if (!PyThread_acquire_lock(turn->lock, NOWAIT_LOCK)) {
    result = wait(turn);
  }
  if (result == 0) {
    (void)WORD_SET(&turn->thread, this_thread());
  }
  return result;
}

void
turn_give(struct turn *turn)
{
  if (turn->lock != NULL) {
    (void)WORD_SET(&turn->thread, 0);
    PyThread_release_lock(turn->lock);
  }
}
