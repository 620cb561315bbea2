/* SPDX-License-Identifier: MIT */
#include "slots.h"

#include <stddef.h>
#include <structmember.h>

static struct slot *
slot_of(PyObject *object)
{
  return (struct slot *)object;
}

static struct free_slots *
free_of(PyObject *object)
{
  return (struct free_slots *)object;
}

/* Takes the last slot; returns NULL, perhaps with an exception, if the list is empty. */
static struct slot *
pop(struct free_slots *free)
{
  Py_ssize_t count = PyList_Size(free->slots);
  PyObject *slot;

  if (count <= 0) {
    return NULL;
  }
  slot = PyList_GetItem(free->slots, count - 1);
  Py_XINCREF(slot);
  if (slot == NULL || PyList_SetSlice(free->slots, count - 1, count, NULL) < 0) {
    Py_XDECREF(slot);
    return NULL;
  }
  slot_of(slot)->is_free = false;
  return slot_of(slot);
}

struct slot *
slots_take(struct free_slots *free)
{
  return free->attentive ? NULL : pop(free);
}

int
slots_give(struct free_slots *free, struct slot *slot)
{
  PyObject *result;

  if (slot->is_free) {
    PyErr_SetString(PyExc_RuntimeError, "the slot of a worker was given back twice");
    return -1;
  }
  if (PyList_Append(free->slots, (PyObject *)slot) < 0) {
    return -1;
  }
  slot->is_free = true;
  slot->returns++;
  /* Must follow the change of the list: a waiter makes the list attentive first and then looks for a free slot. */
  if (!free->attentive || free->look == NULL) {
    return 0;
  }
  result = PyObject_CallNoArgs(free->look);
  Py_XDECREF(result);
  return result == NULL ? -1 : 0;
}

/* Slot */

static PyObject *
slot_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
  PyObject *worker, *call, *lost;
  struct slot *slot;

  if (keywords != NULL && PyDict_Size(keywords) != 0) {
    return PyErr_Format(PyExc_TypeError, "Slot() takes no keyword arguments");
  }
  if (!PyArg_ParseTuple(arguments, "OOO:Slot", &worker, &call, &lost)) {
    return NULL;
  }
  slot = slot_of(PyType_GenericAlloc(type, 0)); /* all zero */
  if (slot != NULL) {
    Py_INCREF(worker);
    slot->worker = worker;
    Py_INCREF(call);
    slot->call = call;
    Py_INCREF(lost);
    slot->lost = lost;
  }
  return (PyObject *)slot;
}

static int
slot_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(slot_of(self)->worker);
  Py_VISIT(slot_of(self)->call);
  Py_VISIT(slot_of(self)->lost);
  return 0;
}

static int
slot_clear(PyObject *self)
{
  Py_CLEAR(slot_of(self)->worker);
  Py_CLEAR(slot_of(self)->call);
  Py_CLEAR(slot_of(self)->lost);
  return 0;
}

/* Reports the worker of a held slot that has become garbage. */
static void
report_lost(struct slot *slot)
{
  PyObject *result, *type, *value, *traceback;

  if (slot->is_free || slot->lost == NULL || slot->worker == NULL) {
    return;
  }
  PyErr_Fetch(&type, &value, &traceback);
  result = PyObject_CallFunctionObjArgs(slot->lost, slot->worker, NULL);
  if (result == NULL) {
    PyErr_WriteUnraisable(slot->lost);
  }
  Py_XDECREF(result);
  PyErr_Restore(type, value, traceback);
}

static void
slot_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  report_lost(slot_of(self));
  (void)slot_clear(self);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMemberDef slot_members[] = {
  { "worker", T_OBJECT_EX, offsetof(struct slot, worker), READONLY, "The worker." },
  { "call", T_OBJECT_EX, offsetof(struct slot, call), READONLY, "Makes a call and returns its reply." },
  { "returns", T_UINT, offsetof(struct slot, returns), READONLY, "How often it has become free." },
  { "is_free", T_BOOL, offsetof(struct slot, is_free), READONLY, "Whether it is in the list of free slots." },
  { NULL, 0, 0, 0, NULL },
};

static PyType_Slot slot_slots[] = {
  { Py_tp_doc, "The slot of one worker; see backworks.isolation.slots." },
  { Py_tp_new, (void *)slot_new },
  { Py_tp_members, slot_members },
  { Py_tp_traverse, (void *)slot_traverse },
  { Py_tp_clear, (void *)slot_clear },
  { Py_tp_dealloc, (void *)slot_dealloc },
  { 0, NULL },
};

PyType_Spec slot_spec = {
  .name = "backworks.ffi._native.Slot",
  .basicsize = sizeof(struct slot),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = slot_slots,
};

/* FreeSlots */

static PyObject *
free_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
  PyObject *look;
  struct free_slots *free;

  if (keywords != NULL && PyDict_Size(keywords) != 0) {
    return PyErr_Format(PyExc_TypeError, "FreeSlots() takes no keyword arguments");
  }
  if (!PyArg_ParseTuple(arguments, "O:FreeSlots", &look)) {
    return NULL;
  }
  free = free_of(PyType_GenericAlloc(type, 0)); /* all zero */
  if (free == NULL) {
    return NULL;
  }
  Py_INCREF(look);
  free->look = look;
  free->slots = PyList_New(0);
  if (free->slots == NULL) {
    Py_DECREF((PyObject *)free);
    return NULL;
  }
  return (PyObject *)free;
}

/* Returns the slot, or None for NULL; NULL if an exception is set. */
static PyObject *
slot_or_none(struct slot *slot)
{
  if (slot == NULL && !PyErr_Occurred()) {
    Py_RETURN_NONE;
  }
  return (PyObject *)slot;
}

static PyObject *
free_take(PyObject *self, PyObject *unused)
{
  (void)unused;
  return slot_or_none(slots_take(free_of(self)));
}

static PyObject *
free_pop(PyObject *self, PyObject *unused)
{
  (void)unused;
  return slot_or_none(pop(free_of(self)));
}

/* Checks that a value is a slot of the same module. */
static int
check_slot(PyObject *self, PyObject *value)
{
  const struct state *state = PyType_GetModuleState(Py_TYPE(self));

  if (!Py_IS_TYPE(value, state->slot_type)) {
    PyErr_Format(PyExc_TypeError, "a slot must be a Slot, not %R", (PyObject *)Py_TYPE(value));
    return -1;
  }
  return 0;
}

static PyObject *
free_give(PyObject *self, PyObject *slot)
{
  if (check_slot(self, slot) < 0 || slots_give(free_of(self), slot_of(slot)) < 0) {
    return NULL;
  }
  Py_RETURN_NONE;
}

static PyObject *
free_remove(PyObject *self, PyObject *worker)
{
  PyObject *slots = free_of(self)->slots;
  Py_ssize_t i, count = PyList_Size(slots);

  for (i = 0; i < count; i++) {
    struct slot *slot = slot_of(PyList_GetItem(slots, i));
    if (slot->worker == worker) {
      Py_INCREF((PyObject *)slot);
      if (PyList_SetSlice(slots, i, i + 1, NULL) < 0) {
        Py_DECREF((PyObject *)slot);
        return NULL;
      }
      slot->is_free = false;
      return (PyObject *)slot;
    }
  }
  Py_RETURN_NONE;
}

static PyObject *
free_clear_method(PyObject *self, PyObject *unused)
{
  (void)unused;
  if (PyList_SetSlice(free_of(self)->slots, 0, PyList_Size(free_of(self)->slots), NULL) < 0) {
    return NULL;
  }
  Py_RETURN_NONE;
}

static Py_ssize_t
free_length(PyObject *self)
{
  return PyList_Size(free_of(self)->slots);
}

static int
free_traverse(PyObject *self, visitproc visit, void *arg)
{
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(free_of(self)->slots);
  Py_VISIT(free_of(self)->look);
  return 0;
}

/* Does not clear the list, which the collector clears separately. */
static int
free_clear(PyObject *self)
{
  Py_CLEAR(free_of(self)->look);
  return 0;
}

static void
free_dealloc(PyObject *self)
{
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  (void)free_clear(self);
  Py_XDECREF(free_of(self)->slots);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static PyMethodDef free_methods[] = {
  { "take", free_take, METH_NOARGS,
    "take($self)\n--\n\nTakes the slot given back last; None if attentive or empty." },
  { "pop", free_pop, METH_NOARGS, "pop($self)\n--\n\nLike take(), but also if attentive." },
  { "give", free_give, METH_O,
    "give($self, slot, /)\n--\n\nPuts a slot back, and looks if the list is attentive." },
  { "remove", free_remove, METH_O,
    "remove($self, worker, /)\n--\n\nTakes the slot of this worker; None if it is not free." },
  { "clear", free_clear_method, METH_NOARGS, "clear($self)\n--\n\nForgets all slots." },
  { NULL, NULL, 0, NULL },
};

static PyMemberDef free_members[] = {
  { "attentive", T_BOOL, offsetof(struct free_slots, attentive), 0,
    "Whether slots are only taken and given back under the lock of Slots." },
  { NULL, 0, 0, 0, NULL },
};

static PyType_Slot free_slots_slots[] = {
  { Py_tp_doc, "The free slots; see backworks.isolation.slots." },
  { Py_tp_new, (void *)free_new },
  { Py_tp_methods, free_methods },
  { Py_tp_members, free_members },
  { Py_sq_length, (void *)free_length },
  { Py_tp_traverse, (void *)free_traverse },
  { Py_tp_clear, (void *)free_clear },
  { Py_tp_dealloc, (void *)free_dealloc },
  { 0, NULL },
};

PyType_Spec free_slots_spec = {
  .name = "backworks.ffi._native.FreeSlots",
  .basicsize = sizeof(struct free_slots),
  .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
  .slots = free_slots_slots,
};
