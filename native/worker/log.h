/* SPDX-License-Identifier: MIT
 *
 * backworks_host.log: records of the plugin, as frames on a separate pipe.
 *
 * A plugin may log from any of its threads, and must not wait long for a host that does not read. A record waits at
 * most LOG_PATIENCE for room in the pipe; without room it is dropped. Later records are then dropped immediately until
 * there is room again. The next record that is written follows one that reports how many were dropped. */
#ifndef BACKWORKS_WORKER_LOG_H
#define BACKWORKS_WORKER_LOG_H

#include "platform.h"

#define LOG_PATIENCE UINT64_C(100000000) /* nanoseconds */

/* Sets the pipe of the records. Must be called before the first record. */
void log_open(descriptor pipe);

/* Writes a record; text beyond MAX_TEXT is cut off. Can be called from any thread. */
void log_write(uint32_t level, const char *text, size_t size);

/* Writes the pending data if the pipe has room for it. */
void log_finish(void);

#endif
