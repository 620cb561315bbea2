/* SPDX-License-Identifier: MIT
 *
 * What differs between systems: platform_posix.c and platform_windows.c. A function that returns bool returns false if
 * it failed, and platform_error then has the system's words. */
#ifndef BACKWORKS_WORKER_PLATFORM_H
#define BACKWORKS_WORKER_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../wire/frame.h"

#if defined(__GNUC__) || defined(__clang__)
#define NORETURN __attribute__((noreturn))
#else
#define NORETURN __declspec(noreturn)
#endif

/* A file descriptor, or a HANDLE. */
typedef intptr_t descriptor;
#define NO_DESCRIPTOR ((descriptor)-1)

typedef void (*function)(void);

/* Whether somebody sits at a terminal at the end of one of the pipes. */
bool platform_has_terminal(void);

/* Makes the process one that a plugin may live in: takes the two pipes away from where a plugin finds them (its
 * standard input is empty, its standard output is its standard error), moves `*log` beside them, and becomes the leader
 * of a group of processes. */
bool platform_prepare(descriptor *requests, descriptor *replies, descriptor *log);


/* Starts the thread that ends this process when its host is gone. */
bool platform_watch(descriptor requests);

/* Says that the process is about to end by itself: the watching thread leaves it alone. */
void platform_ending(void);

/* Reads at most `size` bytes, waiting for the first. Returns how many; 0 if there will be no more, or -1. */
ptrdiff_t platform_read(descriptor from, void *to, size_t size);

/* Writes all the parts. Returns false if nobody reads any more, or the descriptor was closed. */
bool platform_write(descriptor to, const struct bytes *parts, size_t count);

/* Writes what finds room in a pipe that platform_prepare made `log`. Returns how much; 0 if there is no room now, or -1
 * if there will never be any. */
ptrdiff_t platform_write_some(descriptor to, const void *data, size_t size);

/* Waits until there may be room, at most for so long. */
void platform_wait_room(descriptor to, uint64_t nanoseconds);

/* Memory in pages, which goes back to the system when it is freed. NULL if there is none. */
void *platform_pages(size_t size);
void platform_free_pages(void *pages, size_t size);

/* Opens the library at an absolute path, with all symbols bound now and none exported to others. Returns NULL with the
 * linker's words in `error`. `path` ends with a NUL. */
void *platform_open(const char *path, char *error, size_t error_size);

/* Returns the function of that name, or NULL. */
function platform_symbol(void *library, const char *name);

/* Sets the limits, for ever. Returns NULL, or the name of the one that the system refused, with its error number. */
const char *platform_limit(const struct start *start, uint32_t *error);

/* Ends the processes that the plugin started and that still run, where the system tells which they are. */
void platform_end_children(void);

uint32_t platform_pid(void);
uint64_t platform_now(void);

/* The one lock: that of log.c. */
void platform_lock(void);
void platform_unlock(void);

/* Ends the process as it is: no destructor, no atexit function, no buffer of the plugin runs or is written. */
NORETURN void platform_end(int code);

/* Writes one line to the standard error, which the host puts in its log. */
void platform_complain(const char *text);

#endif
