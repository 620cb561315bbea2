/* SPDX-License-Identifier: MIT
 *
 * The types Slot and FreeSlots: backworks.isolation.slots.PythonSlot and PythonFreeSlots, which say what they do.
 *
 * Everything here runs with the interpreter lock, and taking a slot and giving it back call no Python code in between:
 * neither another thread nor a signal's handler comes upon a slot that nothing holds. Free-threaded builds, which have
 * no such lock, use the Python classes. */
#ifndef BACKWORKS_SLOTS_H
#define BACKWORKS_SLOTS_H

#include "../binding/binding.h"

struct slot {
  PyObject_HEAD
  PyObject *worker;
  PyObject *call; /* makes a call */
  bool is_free;
};

struct free_slots {
  PyObject_HEAD
  PyObject *slots; /* a list, the next one to be taken at its end */
  PyObject *look;  /* NULL after the collector */
  bool attentive;
};

extern PyType_Spec slot_spec, free_slots_spec;

/* Takes the slot that was given back last. Returns NULL without an exception if the list is attentive or empty. */
struct slot *slots_take(struct free_slots *free);

/* Puts a slot back, and lets Python look if the list is attentive. Returns -1 with an exception. */
int slots_give(struct free_slots *free, struct slot *slot);

#endif
