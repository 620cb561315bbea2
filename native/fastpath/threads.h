/* SPDX-License-Identifier: MIT
 *
 * The operating system functions of threadpool.c: mutex, condition variable, thread, clock, a pipe that wakes an event
 * loop, and a number that one thread writes and another polls. Nothing here uses the interpreter. */
#ifndef BACKWORKS_THREADS_H
#define BACKWORKS_THREADS_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for CPU_COUNT, and POSIX functions in strict C11 */
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The size that Python uses where it sets one for its threads, and far more than some systems' default. Pages that are
 * not used take no memory. */
#define THREAD_STACK ((size_t)8 << 20)

#define NANOSECONDS UINT64_C(1000000000)

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <process.h>

typedef SRWLOCK thread_mutex;
typedef CONDITION_VARIABLE thread_condition;
typedef unsigned thread_result;
#define THREAD_CALL __stdcall

static inline void
mutex_init(thread_mutex *mutex)
{
  InitializeSRWLock(mutex);
}

static inline bool
mutex_trylock(thread_mutex *mutex)
{
  return TryAcquireSRWLockExclusive(mutex) != 0;
}

static inline void
mutex_lock_blocking(thread_mutex *mutex)
{
  AcquireSRWLockExclusive(mutex);
}

static inline void
mutex_unlock(thread_mutex *mutex)
{
  ReleaseSRWLockExclusive(mutex);
}

static inline void
condition_init(thread_condition *condition)
{
  InitializeConditionVariable(condition);
}

static inline void
condition_destroy(thread_condition *condition)
{
  (void)condition;
}

static inline void
condition_signal(thread_condition *condition)
{
  WakeConditionVariable(condition);
}

static inline void
condition_wait(thread_condition *condition, thread_mutex *mutex)
{
  (void)SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}

/* Waits for at most `nanoseconds`; may return early. */
static inline void
condition_wait_for(thread_condition *condition, thread_mutex *mutex, uint64_t nanoseconds)
{
  (void)SleepConditionVariableSRW(condition, mutex, (DWORD)(nanoseconds / 1000000 + 1), 0);
}

static inline bool
thread_start(thread_result(THREAD_CALL *function)(void *), void *argument)
{
  uintptr_t handle = _beginthreadex(NULL, (unsigned)THREAD_STACK, function, argument,
                                    STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);

  if (handle == 0) {
    return false;
  }
  (void)CloseHandle((HANDLE)handle);
  return true;
}

static inline uint64_t
clock_now(void)
{
  LARGE_INTEGER count, frequency;

  (void)QueryPerformanceCounter(&count);
  (void)QueryPerformanceFrequency(&frequency);
  return (uint64_t)count.QuadPart / (uint64_t)frequency.QuadPart * NANOSECONDS +
         (uint64_t)count.QuadPart % (uint64_t)frequency.QuadPart * NANOSECONDS / (uint64_t)frequency.QuadPart;
}

/* Returns the number of processors that this process may use. */
static inline unsigned
processor_count(void)
{
  return (unsigned)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
}

/* Event loops on Windows cannot watch a pipe. */
struct wake_pipe {
  int descriptor;
};

static inline bool
wake_pipe_open(struct wake_pipe *wake)
{
  wake->descriptor = -1;
  return true;
}

static inline void
wake_pipe_write(struct wake_pipe *wake)
{
  (void)wake;
}

static inline void
wake_pipe_drain(struct wake_pipe *wake)
{
  (void)wake;
}

static inline void
wake_pipe_close(struct wake_pipe *wake)
{
  (void)wake;
}

static inline void
after_fork(void (*in_child)(void))
{
  (void)in_child;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

typedef pthread_mutex_t thread_mutex;
typedef pthread_cond_t thread_condition;
typedef void *thread_result;
#define THREAD_CALL

static inline void
mutex_init(thread_mutex *mutex)
{
  (void)pthread_mutex_init(mutex, NULL); /* cannot fail for a plain mutex */
}

static inline bool
mutex_trylock(thread_mutex *mutex)
{
  return pthread_mutex_trylock(mutex) == 0;
}

static inline void
mutex_lock_blocking(thread_mutex *mutex)
{
  (void)pthread_mutex_lock(mutex);
}

static inline void
mutex_unlock(thread_mutex *mutex)
{
  (void)pthread_mutex_unlock(mutex);
}

static inline void
condition_init(thread_condition *condition)
{
#if defined(__APPLE__)
  (void)pthread_cond_init(condition, NULL);
#else
  pthread_condattr_t attributes;

  (void)pthread_condattr_init(&attributes);
  (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  (void)pthread_cond_init(condition, &attributes);
  (void)pthread_condattr_destroy(&attributes);
#endif
}

static inline void
condition_destroy(thread_condition *condition)
{
  (void)pthread_cond_destroy(condition);
}

static inline void
condition_signal(thread_condition *condition)
{
  (void)pthread_cond_signal(condition);
}

static inline void
condition_wait(thread_condition *condition, thread_mutex *mutex)
{
  (void)pthread_cond_wait(condition, mutex);
}

static inline uint64_t
clock_now(void)
{
  struct timespec now;

  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

static inline void
condition_wait_for(thread_condition *condition, thread_mutex *mutex, uint64_t nanoseconds)
{
#if defined(__APPLE__)
  struct timespec left = { (time_t)(nanoseconds / NANOSECONDS), (long)(nanoseconds % NANOSECONDS) };

  (void)pthread_cond_timedwait_relative_np(condition, mutex, &left);
#else
  uint64_t deadline = clock_now() + nanoseconds;
  struct timespec end = { (time_t)(deadline / NANOSECONDS), (long)(deadline % NANOSECONDS) };

  (void)pthread_cond_timedwait(condition, mutex, &end);
#endif
}

static inline bool
thread_start(thread_result (*function)(void *), void *argument)
{
  pthread_attr_t attributes;
  pthread_t thread;
  bool started;

  if (pthread_attr_init(&attributes) != 0) {
    return false;
  }
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  (void)pthread_attr_setstacksize(&attributes, THREAD_STACK);
  started = pthread_create(&thread, &attributes, function, argument) == 0;
  (void)pthread_attr_destroy(&attributes);
  return started;
}

static inline unsigned
processor_count(void)
{
#if defined(__linux__) && defined(CPU_COUNT)
  cpu_set_t set;

  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    return (unsigned)CPU_COUNT(&set);
  }
#endif
  return (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

/* A pipe whose `descriptor` is readable from a write until it is drained. */
struct wake_pipe {
  int descriptor, write_end;
};

/* Returns false with errno set on failure. */
static inline bool
wake_pipe_open(struct wake_pipe *wake)
{
  int ends[2], i;

  if (pipe(ends) < 0) {
    return false;
  }
  for (i = 0; i < 2; i++) {
    (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
  }
  wake->descriptor = ends[0];
  wake->write_end = ends[1];
  return true;
}

static inline void
wake_pipe_write(struct wake_pipe *wake)
{
  while (write(wake->write_end, "", 1) < 0 && errno == EINTR) {
  }
}

static inline void
wake_pipe_drain(struct wake_pipe *wake)
{
  char bytes[16];

  while (read(wake->descriptor, bytes, sizeof bytes) == (ssize_t)sizeof bytes) {
  }
}

static inline void
wake_pipe_close(struct wake_pipe *wake)
{
  (void)close(wake->descriptor);
  (void)close(wake->write_end);
}

/* Registers a function to be called in each forked child. */
static inline void
after_fork(void (*in_child)(void))
{
  (void)pthread_atfork(NULL, NULL, in_child);
}

#endif

/* A number that is written under a mutex, and also read without it. */
typedef long shared_long;

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define LOAD_ACQUIRE(at) _InterlockedOr((at), 0)
#define STORE_RELEASE(at, number) ((void)_InterlockedExchange((at), (number)))
#define THREAD_LOCAL __declspec(thread)
#else
#define LOAD_ACQUIRE(at) __atomic_load_n((at), __ATOMIC_ACQUIRE)
#define STORE_RELEASE(at, number) __atomic_store_n((at), (number), __ATOMIC_RELEASE)
#define THREAD_LOCAL _Thread_local
#endif

/* Hints to the processor that this thread spins. */
static inline void
spin_pause(void)
{
#if defined(_MSC_VER) && !defined(__clang__)
  YieldProcessor();
#elif defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ __volatile__("yield");
#endif
}

/* Locks a mutex that is held for a few dozen instructions at a time. Spins before it sleeps: with four calling threads,
 * sleeping at once would cost a quarter of the throughput. */
static inline void
mutex_lock(thread_mutex *mutex)
{
  int i;

  for (i = 0; i < 100; i++) {
    if (mutex_trylock(mutex)) {
      return;
    }
    spin_pause();
  }
  mutex_lock_blocking(mutex);
}

#endif
