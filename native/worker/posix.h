/* SPDX-License-Identifier: MIT
 *
 * Declarations shared by the POSIX files. */
#ifndef BACKWORKS_WORKER_POSIX_H
#define BACKWORKS_WORKER_POSIX_H

#include "platform.h"

/* Moves a descriptor to where no plugin comes upon it, closed when the process becomes another program. Returns where,
 * or -1. Takes -1 as well. */
int posix_keep(int fd);

#if defined(__linux__)

/* Makes this process the parent of its orphaned descendants. */
void posix_adopt_orphans(void);

/* Kills the children of this process and their process groups; only for a process that starts none itself. */
void posix_kill_orphans(void);

/* Forks, and returns in the child, which becomes the worker. This process becomes its guardian and never returns;
 * `control` is its socket to the host, and `others` are the worker's descriptors. */
void posix_guard(int control, const descriptor *others, size_t count);

#endif

#endif
