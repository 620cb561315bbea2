/* SPDX-License-Identifier: MIT
 *
 * What threadpool.c needs of an operating system: a mutex, a condition, a thread, a clock, a bell that an event loop hears,
 * and a number that one thread writes and another polls. Nothing here needs the interpreter. */
#ifndef BACKWORKS_THREADS_H
#define BACKWORKS_THREADS_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for CPU_COUNT, and POSIX beside strict C11 */
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As much as Python gives its own threads where it says how much, and far more than some systems' default. Only what is
 * used of it becomes memory. */
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
mutex_make(thread_mutex *mutex)
{
  InitializeSRWLock(mutex);
}

static inline bool
mutex_try(thread_mutex *mutex)
{
  return TryAcquireSRWLockExclusive(mutex) != 0;
}

static inline void
mutex_wait(thread_mutex *mutex)
{
  AcquireSRWLockExclusive(mutex);
}

static inline void
mutex_unlock(thread_mutex *mutex)
{
  ReleaseSRWLockExclusive(mutex);
}

static inline void
condition_make(thread_condition *condition)
{
  InitializeConditionVariable(condition);
}

static inline void
condition_end(thread_condition *condition)
{
  (void)condition;
}

static inline void
condition_wake(thread_condition *condition)
{
  WakeConditionVariable(condition);
}

static inline void
condition_wait(thread_condition *condition, thread_mutex *mutex)
{
  (void)SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}

/* Waits for at most so many nanoseconds; may end early. */
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

/* On how many processors this process may run. */
static inline unsigned
processors(void)
{
  return (unsigned)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
}

/* The event loop of Windows watches no descriptors. */
struct bell {
  int descriptor;
};

static inline bool
bell_make(struct bell *bell)
{
  bell->descriptor = -1;
  return true;
}

static inline void
bell_ring(struct bell *bell)
{
  (void)bell;
}

static inline void
bell_clear(struct bell *bell)
{
  (void)bell;
}

static inline void
bell_end(struct bell *bell)
{
  (void)bell;
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
mutex_make(thread_mutex *mutex)
{
  (void)pthread_mutex_init(mutex, NULL); /* fails on no system for a plain mutex */
}

static inline bool
mutex_try(thread_mutex *mutex)
{
  return pthread_mutex_trylock(mutex) == 0;
}

static inline void
mutex_wait(thread_mutex *mutex)
{
  (void)pthread_mutex_lock(mutex);
}

static inline void
mutex_unlock(thread_mutex *mutex)
{
  (void)pthread_mutex_unlock(mutex);
}

static inline void
condition_make(thread_condition *condition)
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
condition_end(thread_condition *condition)
{
  (void)pthread_cond_destroy(condition);
}

static inline void
condition_wake(thread_condition *condition)
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
  uint64_t until = clock_now() + nanoseconds;
  struct timespec end = { (time_t)(until / NANOSECONDS), (long)(until % NANOSECONDS) };

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
processors(void)
{
#if defined(__linux__) && defined(CPU_COUNT)
  cpu_set_t set;

  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    return (unsigned)CPU_COUNT(&set);
  }
#endif
  return (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

/* A descriptor that is readable from a ring until it is cleared. */
struct bell {
  int descriptor, write_end;
};

/* Returns whether it was made; errno says why not. */
static inline bool
bell_make(struct bell *bell)
{
  int ends[2], i;

  if (pipe(ends) < 0) {
    return false;
  }
  for (i = 0; i < 2; i++) {
    (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
  }
  bell->descriptor = ends[0];
  bell->write_end = ends[1];
  return true;
}

static inline void
bell_ring(struct bell *bell)
{
  while (write(bell->write_end, "", 1) < 0 && errno == EINTR) {
  }
}

static inline void
bell_clear(struct bell *bell)
{
  char rings[16];

  while (read(bell->descriptor, rings, sizeof rings) == (ssize_t)sizeof rings) {
  }
}

static inline void
bell_end(struct bell *bell)
{
  (void)close(bell->descriptor);
  (void)close(bell->write_end);
}

/* Has a function run in each process that is forked off. */
static inline void
after_fork(void (*in_child)(void))
{
  (void)pthread_atfork(NULL, NULL, in_child);
}

#endif

/* A number that is written under a mutex, and read also without. */
typedef long signpost;

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define SIGNPOST_GET(at) _InterlockedOr((at), 0)
#define SIGNPOST_SET(at, number) ((void)_InterlockedExchange((at), (number)))
#else
#define SIGNPOST_GET(at) __atomic_load_n((at), __ATOMIC_ACQUIRE)
#define SIGNPOST_SET(at, number) __atomic_store_n((at), (number), __ATOMIC_RELEASE)
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

/* Tells the processor that this thread polls. */
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

/* Locks a mutex that others hold for some dozens of instructions at a time: sleeping at once costs a quarter of the calls
 * per second where four threads call. */
static inline void
mutex_lock(thread_mutex *mutex)
{
  int i;

  for (i = 0; i < 100; i++) {
    if (mutex_try(mutex)) {
      return;
    }
    spin_pause();
  }
  mutex_wait(mutex);
}

#endif
