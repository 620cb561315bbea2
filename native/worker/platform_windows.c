/* SPDX-License-Identifier: MIT
 *
 * The host puts the worker into a job object that ends with the host (JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE). A second job
 * inside it enforces the limits. */
#include "platform.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <stdio.h>
#include <string.h>
#include <tlhelp32.h>

#define TICKS_PER_SECOND 10000000
#define NANOSECONDS UINT64_C(1000000000)
#define STACK (128u << 10)

/* The size of one write to a pipe; a larger write to a full pipe would wait for all of it. */
#define CHUNK ((DWORD)64 << 10)

static SRWLOCK lock = SRWLOCK_INIT;
static HANDLE parent;
static volatile LONG ending;

static HANDLE
handle_of(descriptor number)
{
  return (HANDLE)number;
}

bool
platform_has_terminal(void)
{
  DWORD mode;

  return GetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), &mode) || GetConsoleMode(GetStdHandle(STD_OUTPUT_HANDLE), &mode);
}

/* Duplicates a handle, not inheritable. */
static descriptor
keep(HANDLE given)
{
  HANDLE kept, self = GetCurrentProcess();

  if (!DuplicateHandle(self, given, self, &kept, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
    return NO_DESCRIPTOR;
  }
  return (descriptor)kept;
}

bool
platform_prepare(descriptor *requests, descriptor *replies, descriptor *log)
{
  DWORD mode = PIPE_NOWAIT; /* obsolete, but makes a write to a full pipe return immediately */
  int empty;

  *requests = keep(GetStdHandle(STD_INPUT_HANDLE));
  *replies = keep(GetStdHandle(STD_OUTPUT_HANDLE));
  *log = keep(handle_of(*log));
  empty = _open("NUL", _O_RDONLY);
  if (*requests == NO_DESCRIPTOR || *replies == NO_DESCRIPTOR || *log == NO_DESCRIPTOR || empty < 0 ||
      _dup2(empty, 0) != 0 || _dup2(2, 1) != 0 || !SetNamedPipeHandleState(handle_of(*log), &mode, NULL, NULL)) {
    return false;
  }
  (void)_close(empty);
  (void)setvbuf(stdout, NULL, _IONBF, 0); /* this C library has no line buffering */
  /* A plugin may have its own C library, which asks the system. */
  (void)SetStdHandle(STD_INPUT_HANDLE, (HANDLE)_get_osfhandle(0));
  (void)SetStdHandle(STD_OUTPUT_HANDLE, GetStdHandle(STD_ERROR_HANDLE));
  /* A crash must end the process without showing a window. */
  (void)SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
  return true;
}

static uint64_t
started_at(HANDLE process)
{
  FILETIME created, unused[3];

  if (!GetProcessTimes(process, &created, &unused[0], &unused[1], &unused[2])) {
    return 0;
  }
  return (uint64_t)created.dwHighDateTime << 32 | created.dwLowDateTime;
}

/* Returns the process that started this one, or NULL. If its id has been reused, the other process is younger. */
static HANDLE
find_parent(void)
{
  PROCESSENTRY32 entry = { .dwSize = sizeof entry };
  HANDLE list = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0), found = NULL;
  BOOL more;

  if (list == INVALID_HANDLE_VALUE) {
    return NULL;
  }
  for (more = Process32First(list, &entry); more; more = Process32Next(list, &entry)) {
    if (entry.th32ProcessID == GetCurrentProcessId()) {
      found = OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, entry.th32ParentProcessID);
      break;
    }
  }
  (void)CloseHandle(list);
  if (found != NULL && started_at(found) > started_at(GetCurrentProcess())) {
    (void)CloseHandle(found);
    found = NULL;
  }
  return found;
}

static unsigned __stdcall
watch(void *unused)
{
  (void)unused;
  (void)WaitForSingleObject(parent, INFINITE);
  if (!InterlockedOr(&ending, 0)) {
    platform_end(END_PIPES);
  }
  return 0;
}

bool
platform_watch(descriptor requests)
{
  uintptr_t thread;

  (void)requests; /* a query of a pipe that is being read waits for the reader */
  parent = find_parent();
  if (parent == NULL) {
    return true; /* the job suffices */
  }
  thread = _beginthreadex(NULL, STACK, watch, NULL, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
  return thread != 0 && CloseHandle((HANDLE)thread);
}

void
platform_ending(void)
{
  (void)InterlockedExchange(&ending, 1);
}

ptrdiff_t
platform_read(descriptor from, void *to, size_t size)
{
  DWORD got = 0;

  if (!ReadFile(handle_of(from), to, size < CHUNK ? (DWORD)size : CHUNK, &got, NULL)) {
    return GetLastError() == ERROR_BROKEN_PIPE ? 0 : -1;
  }
  return (ptrdiff_t)got;
}

bool
platform_write(descriptor to, const struct bytes *parts, size_t count)
{
  size_t i, done;
  DWORD written;

  for (i = 0; i < count; i++) {
    for (done = 0; done < parts[i].size; done += written) {
      size_t left = parts[i].size - done;

      if (!WriteFile(handle_of(to), parts[i].data + done, left < CHUNK ? (DWORD)left : CHUNK, &written, NULL)) {
        if (GetLastError() == ERROR_NOACCESS || GetLastError() == ERROR_INVALID_USER_BUFFER) {
          /* The plugin returned an invalid address. The system reports an error, whereas a copy would have crashed. */
          RaiseException((DWORD)EXCEPTION_ACCESS_VIOLATION, EXCEPTION_NONCONTINUABLE, 0, NULL);
        }
        return false;
      }
    }
  }
  return true;
}

ptrdiff_t
platform_write_some(descriptor to, const void *data, size_t size)
{
  /* A non-waiting pipe accepts all of a write or nothing, so this writes pieces that fit into any pipe. */
  const DWORD most = 4096;
  DWORD written = 0;

  if (!WriteFile(handle_of(to), data, size < most ? (DWORD)size : most, &written, NULL)) {
    return -1;
  }
  return (ptrdiff_t)written;
}

void
platform_wait_room(descriptor to, uint64_t nanoseconds)
{
  (void)to;
  (void)nanoseconds;
  Sleep(1);
}

void *
platform_pages(size_t size)
{
  return VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void
platform_free_pages(void *pages, size_t size)
{
  (void)size;
  if (pages != NULL) {
    (void)VirtualFree(pages, 0, MEM_RELEASE);
  }
}

void *
platform_open(const char *path, char *error, size_t error_size)
{
  /* As in the binding: searches for dependencies only in the library's directory and the system directory. */
  const DWORD flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
  wchar_t wide[32768], words[512];
  HMODULE library;
  DWORD code;

  if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, (int)(sizeof wide / sizeof wide[0])) == 0) {
    (void)snprintf(error, error_size, "the path of the library is too long, or not UTF-8");
    return NULL;
  }
  library = LoadLibraryExW(wide, NULL, flags);
  if (library == NULL) {
    code = GetLastError();
    if (FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code, 0, words,
                       (DWORD)(sizeof words / sizeof words[0]), NULL) == 0 ||
        WideCharToMultiByte(CP_UTF8, 0, words, -1, error, (int)error_size, NULL, NULL) == 0) {
      (void)snprintf(error, error_size, "Windows error %lu", (unsigned long)code);
    }
  }
  return (void *)library;
}

function
platform_symbol(void *library, const char *name)
{
  return (function)GetProcAddress((HMODULE)library, name);
}

const char *
platform_limit(const struct start *start, uint32_t *error)
{
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;
  JOBOBJECT_BASIC_LIMIT_INFORMATION *basic = &limits.BasicLimitInformation;
  HANDLE job;

  memset(&limits, 0, sizeof limits);
  *error = 0;
  if (start->files > 0) {
    *error = ERROR_NOT_SUPPORTED;
    return "open_files";
  }
  if (start->memory > 0) {
    basic->LimitFlags |= JOB_OBJECT_LIMIT_PROCESS_MEMORY;
    limits.ProcessMemoryLimit = (SIZE_T)start->memory;
  }
  if (start->cpu_seconds > 0) {
    basic->LimitFlags |= JOB_OBJECT_LIMIT_PROCESS_TIME;
    basic->PerProcessUserTimeLimit.QuadPart =
      start->cpu_seconds < INT64_MAX / TICKS_PER_SECOND ? (LONGLONG)start->cpu_seconds * TICKS_PER_SECOND : INT64_MAX;
  }
  if (start->processes > 0) {
    basic->LimitFlags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
    basic->ActiveProcessLimit = start->processes < MAXDWORD ? (DWORD)start->processes : MAXDWORD;
  }
  if (basic->LimitFlags == 0) {
    return NULL;
  }
  job = CreateJobObjectW(NULL, NULL); /* never closed, because it must exist as long as the process */
  if (job == NULL || !SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits) ||
      !AssignProcessToJobObject(job, GetCurrentProcess())) {
    *error = (uint32_t)GetLastError();
    return "memory, cpu_time or processes";
  }
  return NULL;
}

void
platform_end_children(void)
{
  /* The children are in the host's job, which the host ends. */
}

uint32_t
platform_pid(void)
{
  return (uint32_t)GetCurrentProcessId();
}

uint64_t
platform_now(void)
{
  LARGE_INTEGER count, frequency;

  (void)QueryPerformanceCounter(&count);
  (void)QueryPerformanceFrequency(&frequency);
  return (uint64_t)count.QuadPart / (uint64_t)frequency.QuadPart * NANOSECONDS +
         (uint64_t)count.QuadPart % (uint64_t)frequency.QuadPart * NANOSECONDS / (uint64_t)frequency.QuadPart;
}

void
platform_lock(void)
{
  AcquireSRWLockExclusive(&lock);
}

void
platform_unlock(void)
{
  ReleaseSRWLockExclusive(&lock);
}

void
platform_end(int code)
{
  (void)TerminateProcess(GetCurrentProcess(), (UINT)code);
  for (;;) { /* the function does not return, which the compiler does not know */
  }
}

void
platform_complain(const char *text)
{
  char line[400];
  DWORD written;
  int size = snprintf(line, sizeof line, "backworks-worker: %s\n", text);

  (void)WriteFile(GetStdHandle(STD_ERROR_HANDLE), line, (DWORD)size, &written, NULL);
}
