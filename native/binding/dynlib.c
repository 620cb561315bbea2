/* SPDX-License-Identifier: MIT */
#include "binding.h"

#include <string.h>

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

void *
dynlib_open(PyObject *path)
{
  /* Searches for dependencies beside the library, in the system's directory and those of os.add_dll_directory, but not
   * in PATH or the current directory, where others may have put a DLL. Rejects a path that is not absolute. */
  const DWORD flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
  DWORD error = 0;
  HMODULE handle;
  wchar_t *name = PyUnicode_AsWideCharString(path, NULL); /* without a size: rejects a name that contains NUL */

  if (name == NULL) {
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  handle = LoadLibraryExW(name, NULL, flags);
  if (handle == NULL) {
    error = GetLastError();
  }
  Py_END_ALLOW_THREADS
  PyMem_Free(name);
  if (handle == NULL) {
    PyErr_SetExcFromWindowsErrWithFilenameObject(PyExc_OSError, (int)error, path);
  }
  return (void *)handle;
}

dynlib_function
dynlib_symbol(void *handle, const char *name)
{
  return (dynlib_function)GetProcAddress((HMODULE)handle, name);
}

#else

#include <dlfcn.h>

void *
dynlib_open(PyObject *path)
{
  PyObject *encoded = NULL;
  const char *name, *words = NULL;
  void *handle;

  if (!PyUnicode_FSConverter(path, &encoded)) { /* rejects a name that contains NUL */
    return NULL;
  }
  name = PyBytes_AsString(encoded);
  if (name[0] != '/') { /* dlopen would search for it */
    PyErr_Format(PyExc_ValueError, "the path of a library must be absolute, not %R", path);
    Py_DECREF(encoded);
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  /* NOW: a missing symbol makes loading fail instead of crashing a later call. LOCAL: two plugins may have functions
   * with the same name. */
  handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    words = dlerror(); /* valid until this thread calls the linker again */
  }
  Py_END_ALLOW_THREADS
  Py_DECREF(encoded);
  if (handle == NULL) {
    PyObject *text = PyUnicode_DecodeFSDefault(words != NULL ? words : "the dynamic linker gives no reason");
    if (text != NULL) {
      PyErr_SetObject(PyExc_OSError, text);
      Py_DECREF(text);
    }
  }
  return handle;
}

dynlib_function
dynlib_symbol(void *handle, const char *name)
{
  void *address = dlsym(handle, name);
  dynlib_function function;

  /* ISO C has no cast between the two; POSIX guarantees the same representation. */
  _Static_assert(sizeof function == sizeof address, "pointers to functions and to objects must have the same size");
  memcpy(&function, &address, sizeof function);
  return function;
}

#endif
