"""A plugin that harms its process on command, and helpers for tests that use it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from conftest import ECHO

#: How the host describes a process that ended in one of these ways.
CRASHED = (
    {"segfault": "access violation", "abort": "stack buffer overrun or abort"}
    if sys.platform == "win32"
    else {"segfault": "SIGSEGV", "abort": "SIGABRT"}
)

#: The argument of ``!child`` and ``!daemon``: on Windows, which has no fork, the command to start.
CHILD = f' "{sys.executable}" -c "import time; time.sleep(60)"' if sys.platform == "win32" else ""

#: Takes commands as data, such as ``!exit 3``, and echoes all other data.
UNRULY = ECHO.replace(
    "#include <backworks_plugin.h>",
    """
#define _GNU_SOURCE
#include <backworks_plugin.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>

#include <process.h>

#define getpid _getpid

static void
crash(void)
{
  *(volatile int *)NULL = 0;
}

static void
pause(void)
{
  Sleep(INFINITE);
}

static void
stop(void)
{
  SuspendThread(GetCurrentThread());
}

/* Runs the silent command line after "!child " or "!daemon ", and returns the process id. */
static int
child(char *command)
{
  const DWORD apart = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP;
  STARTUPINFOA start = { .cb = sizeof start };
  PROCESS_INFORMATION process;

  if (!CreateProcessA(NULL, strchr(command, ' ') + 1, NULL, NULL, TRUE, command[1] == 'd' ? apart : 0, NULL, NULL,
                      &start, &process)) {
    return -(int)GetLastError();
  }
  return (int)process.dwProcessId;
}

/* Writes something that is not a frame to every pipe. */
static void
litter(void)
{
  DWORD written;
  uintptr_t handle;

  for (handle = 4; handle < 4096; handle += 4) {
    if (GetFileType((HANDLE)handle) == FILE_TYPE_PIPE) {
      WriteFile((HANDLE)handle, "this is no frame", 16, &written, NULL);
    }
  }
}
#else
#include <unistd.h>

static void
crash(void)
{
  signal(SIGSEGV, SIG_DFL);
  raise(SIGSEGV);
}

static void
stop(void)
{
  raise(SIGSTOP);
}

static int
child(char *command)
{
  pid_t started = fork();
  if (started == 0) {
    if (command[1] == 'd' || command[1] == 'f') {
      setsid();
    }
    for (;;) {
      pause();
    }
  }
  return (int)started;
}

static void
litter(void)
{
  int i;

  for (i = 3; i < 1024; i++) {
    if (fcntl(i, F_GETFL) >= 0 && (fcntl(i, F_GETFL) & O_ACCMODE) == O_WRONLY) {
      if (write(i, "this is no frame", 16) != 16) {
        abort();
      }
    }
  }
}
#endif
""",
).replace(
    "  (void)plugin;\n  return backworks_answer(",
    """
  char command[4096], text[256];
  size_t size = request->data_size < sizeof command - 1 ? request->data_size : sizeof command - 1;
  int number = 0, i;

  (void)plugin;
  memcpy(command, request->data, size);
  command[size] = 0;
  if (strcmp(command, "!crash") == 0) {
    fputs("about to crash\\n", stderr);
    crash();
  }
  if (sscanf(command, "!exit %d", &number) == 1) {
    exit(number);
  }
  if (strcmp(command, "!hang") == 0) {
    for (;;) {
      pause();
    }
  }
  if (strcmp(command, "!stop") == 0) {
    stop();
  }
  if (strncmp(command, "!wait ", 6) == 0) { /* until another process has opened the FIFO and closed it again */
    FILE *fifo = fopen(command + 6, "rb");
    while (fifo != NULL && fgetc(fifo) != EOF) {
    }
    fclose(fifo);
    return backworks_answer(response, "done", 4);
  }
  if (strncmp(command, "!child", 6) == 0 || strncmp(command, "!daemon", 7) == 0) {
    number = snprintf(text, sizeof text, "%d", child(command));
    return backworks_answer(response, text, (size_t)number);
  }
  if (strcmp(command, "!forkcrash") == 0) { /* the child keeps all pipes open */
    fprintf(stderr, "%d\\n", child(command));
    crash();
  }
  if (strcmp(command, "!pid") == 0) {
    number = snprintf(text, sizeof text, "%d", (int)getpid());
    return backworks_answer(response, text, (size_t)number);
  }
  if (strncmp(command, "!env ", 5) == 0) {
    const char *value = getenv(command + 5);
    return value == NULL ? BACKWORKS_OK : backworks_answer(response, value, strlen(value));
  }
  if (strcmp(command, "!left") == 0) {
    number = snprintf(text, sizeof text, "%llu", (unsigned long long)request->time_left_ns);
    return backworks_answer(response, text, (size_t)number);
  }
  if (sscanf(command, "!flood %d", &number) == 1) {
    for (i = 0; i < number; i++) {
      fprintf(stderr, "line %d\\n", i);
    }
  }
  if (strncmp(command, "!stderr ", 8) == 0) {
    fputs(command + 8, stderr);
  }
  if (strncmp(command, "!log ", 5) == 0) {
    backworks_log(plugin->host, 30, "%s", command + 5);
  }
  if (strcmp(command, "!garbage") == 0) {
    litter();
  }
  if (strcmp(command, "!null") == 0) {
    response->data = NULL;
    response->size = 10;
    return BACKWORKS_OK;
  }
  if (strcmp(command, "!fail") == 0) {
    return backworks_fail(response, BACKWORKS_NOT_FOUND, "no such thing");
  }
  return backworks_answer(""",
)


def last_words(lines: Iterable[str]) -> tuple[str, ...]:
    """Returns what a process wrote before it crashed, without qemu's message about a signal in an emulated process."""
    qemu = "qemu: uncaught target signal "
    return tuple(line.partition(qemu)[0] for line in lines if not line.startswith(qemu))


class Fifo:
    """What ``!wait`` waits for: a FIFO, or a named pipe on Windows.

    Args:
        directory: Where to create the FIFO.
    """

    def __init__(self, directory: Path) -> None:
        name = f"fifo-{os.getpid()}-{time.monotonic_ns()}"
        if sys.platform == "win32":
            from multiprocessing.connection import Listener

            self.path = rf"\\.\pipe\{name}"
            self._listener = Listener(self.path)
        else:
            self.path = str(directory / name)
            os.mkfifo(self.path)

    def wait(self) -> None:
        """Waits until the plugin has opened it."""
        if sys.platform == "win32":
            self._end = self._listener.accept()
        else:
            self._writing = os.open(self.path, os.O_WRONLY)

    def close(self) -> None:
        """Lets the plugin continue."""
        if sys.platform == "win32":
            self._end.close()
            self._listener.close()
        else:
            os.close(self._writing)


def is_alive(pid: int) -> bool:
    """Returns whether a process is running; a zombie is not."""
    if sys.platform == "win32":
        import _winapi

        try:
            process = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, pid)
        except OSError:
            return False
        try:
            return _winapi.WaitForSingleObject(process, 0) == _winapi.WAIT_TIMEOUT
        finally:
            _winapi.CloseHandle(process)
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
