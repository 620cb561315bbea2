/* SPDX-License-Identifier: MIT
 *
 * What Python.h asks about a 64-bit Windows, as far as an extension for the stable ABI gets to see it. A Windows Python
 * brings its own; the headers of the Python that makes the wheels are those of another system. */
#ifndef BACKWORKS_PYCONFIG_H
#define BACKWORKS_PYCONFIG_H

#define MS_WINDOWS
#define MS_WIN32
#define MS_WIN64
#define NT_THREADS
#define WITH_THREAD 1

#define Py_ENABLE_SHARED 1
#define HAVE_DECLSPEC_DLL 1

#define PLATFORM "win32"
#define ALIGNOF_SIZE_T 8
#define ALIGNOF_MAX_ALIGN_T 8
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_VOID_P 8
#define SIZEOF_HKEY 8
#define SIZEOF_TIME_T 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF_FLOAT 4
#define SIZEOF_DOUBLE 8

#define HAVE_STDARG_PROTOTYPES 1
#define HAVE_STDDEF_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_WCHAR_H 1
#define HAVE_UINTPTR_T 1

typedef long long Py_ssize_t;
#define HAVE_PY_SSIZE_T 1
#define HAVE_SSIZE_T 1
#define PY_SSIZE_T_MAX 0x7fffffffffffffffLL

#endif
