/* SPDX-License-Identifier: MIT
 *
 * Whether this build has the type Mailbox. It is guarded by the interpreter lock, and made of what only 64-bit Linux
 * has. */
#ifndef BACKWORKS_MAILBOX_TYPE_H
#define BACKWORKS_MAILBOX_TYPE_H

#include "../binding/binding.h"

#if defined(__linux__) && !defined(Py_GIL_DISABLED) && UINTPTR_MAX > UINT32_MAX && \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HAVE_MAILBOX 1

extern PyType_Spec mailbox_spec;

/* Makes a Mailbox: the module's function `mailbox`. */
PyObject *mailbox_new(PyObject *module, PyObject *unused);

#else
#define HAVE_MAILBOX 0
#endif

#endif
