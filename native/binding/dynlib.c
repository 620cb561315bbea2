/* SPDX-License-Identifier: MIT */
#include "binding.h"

#include <string.h>

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

void *
dynlib_open(PyObject *path)
{
  /* Dependencies from beside the library, the system's folder and what os.add_dll_directory named; neither from PATH
   * nor from the current folder, where anybody may have put a DLL. Refuses a path that is not absolute. */
  const DWORD flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
  DWORD error = 0;
  HMODULE handle;
  wchar_t *name = PyUnicode_AsWideCharString(path, NULL); /* NULL for the size: refuses a name with a NUL inside */

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

  if (!PyUnicode_FSConverter(path, &encoded)) { /* refuses a name with a NUL inside */
    return NULL;
  }
  name = PyBytes_AsString(encoded);
  if (name[0] != '/') { /* dlopen would search for it */
    PyErr_Format(PyExc_ValueError, "the path of a library must be absolute, and %R is not", path);
    Py_DECREF(encoded);
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  /* NOW: a missing symbol is an error of the load, not a crash of some later call. LOCAL: two plugins may have
   * functions of one name. */
  handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    words = dlerror(); /* of this thread, until it calls the linker again */
  }
  Py_END_ALLOW_THREADS
  Py_DECREF(encoded);
  if (handle == NULL) {
    PyObject *text = PyUnicode_DecodeFSDefault(words != NULL ? words : "the dynamic linker does not say why");
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

  /* ISO C has no cast from one to the other; POSIX says that they are the same. */
  _Static_assert(sizeof function == sizeof address, "functions and objects have addresses of one size");
  memcpy(&function, &address, sizeof function);
  return function;
}

#endif
