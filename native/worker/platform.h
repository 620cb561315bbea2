/* SPDX-License-Identifier: MIT
 *
 * The differences between systems: platform_posix.c and platform_windows.c. A function that returns bool returns false
 * on failure; platform_error then returns the system's message. */
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

/* Returns whether one of the pipes is a terminal. */
bool platform_has_terminal(void);

/* Prepares the process for a plugin: moves the two pipes to other descriptors (stdin is then empty, and stdout goes to
 * stderr), moves `*log` beside them, and makes the process the leader of a process group. */
bool platform_prepare(descriptor *requests, descriptor *replies, descriptor *log);


/* Starts the thread that ends this process when its host ends. */
bool platform_watch(descriptor requests);

/* Announces that the process is about to end, so that the watching thread does not interfere. */
void platform_ending(void);

/* Reads at most `size` bytes, waiting for the first. Returns the number of bytes, 0 at the end of the data, or -1. */
ptrdiff_t platform_read(descriptor from, void *to, size_t size);

/* Writes all parts. Returns false if the reader has closed the pipe, or the descriptor was closed. */
bool platform_write(descriptor to, const struct bytes *parts, size_t count);

/* Writes as much as fits into the pipe `log` of platform_prepare. Returns the number of bytes, 0 if there is no room at
 * present, or -1 if there will never be any. */
ptrdiff_t platform_write_some(descriptor to, const void *data, size_t size);

/* Waits until there may be room, up to a time limit. */
void platform_wait_room(descriptor to, uint64_t nanoseconds);

/* Allocates memory in pages, which returns to the system when freed. Returns NULL on failure. */
void *platform_pages(size_t size);
void platform_free_pages(void *pages, size_t size);

/* Opens the library at an absolute, NUL-terminated path, binds all its symbols, and exports none to other libraries.
 * Returns NULL with the linker's message in `error`. */
void *platform_open(const char *path, char *error, size_t error_size);

/* Returns the function with a name, or NULL. */
function platform_symbol(void *library, const char *name);

/* Sets the limits permanently. Returns NULL, or the name of the limit that the system cannot set, with the error
 * number. */
const char *platform_limit(const struct start *start, uint32_t *error);

/* Ends the running processes that the plugin has started, if the system can identify them. */
void platform_end_children(void);

uint32_t platform_pid(void);
uint64_t platform_now(void);

/* The only lock, used by log.c. */
void platform_lock(void);
void platform_unlock(void);

/* Ends the process immediately: runs no destructors or atexit functions, and flushes no buffers of the plugin. */
NORETURN void platform_end(int code);

/* Writes one line to stderr, which the host logs. */
void platform_complain(const char *text);

#endif
