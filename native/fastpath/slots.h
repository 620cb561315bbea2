/* SPDX-License-Identifier: MIT
 *
 * The types Slot and FreeSlots: compiled counterparts of backworks.isolation.slots.PythonSlot and PythonFreeSlots,
 * which document them.
 *
 * Everything here runs with the interpreter lock, and taking and giving back a slot run no Python code in between, so
 * neither another thread nor a signal handler can find a slot without a holder. A slot that Python code holds can lose
 * its holder to a signal handler's exception: its deallocation reports the worker. Free-threaded builds, which have no
 * such lock, use the Python classes. */
#ifndef BACKWORKS_SLOTS_H
#define BACKWORKS_SLOTS_H

#include "../binding/binding.h"

struct slot {
  PyObject_HEAD
  PyObject *worker;
  PyObject *call; /* makes a call */
  PyObject *lost; /* called with the worker when the slot becomes garbage while it is held; NULL after collection */
  bool is_free;
  unsigned returns; /* how often it has become free; wraps around */
};

struct free_slots {
  PyObject_HEAD
  PyObject *slots; /* a list; its last item is taken next */
  PyObject *look;  /* NULL after garbage collection */
  bool attentive;
};

extern PyType_Spec slot_spec, free_slots_spec;

/* Takes the slot given back last. Returns NULL without an exception if the list is attentive or empty. */
struct slot *slots_take(struct free_slots *free);

/* Gives a slot back, and calls `look` if the list is attentive. Returns -1 with an exception. */
int slots_give(struct free_slots *free, struct slot *slot);

#endif
