/* SPDX-License-Identifier: MIT
 *
 * backworks_host.log: records of the plugin, as frames on a pipe of their own.
 *
 * A plugin may log from any of its threads, and must not wait for long for a host that does not read. A record waits at
 * most LOG_PATIENCE for room; if there is none it is dropped, and so is every later one, at once, until there is room
 * again. The next record that gets through comes after one that says how many were dropped. */
#ifndef BACKWORKS_WORKER_LOG_H
#define BACKWORKS_WORKER_LOG_H

#include "platform.h"

#define LOG_PATIENCE UINT64_C(100000000) /* nanoseconds */

/* Says where the records go. Nobody logs yet. */
void log_open(descriptor pipe);

/* Writes a record; text beyond MAX_TEXT is cut off. From any thread. */
void log_write(uint32_t level, const char *text, size_t size);

/* Writes what is still to be written, if there is room for it. */
void log_finish(void);

#endif
