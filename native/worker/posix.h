/* SPDX-License-Identifier: MIT
 *
 * Declarations shared by the POSIX files. */
#ifndef BACKWORKS_WORKER_POSIX_H
#define BACKWORKS_WORKER_POSIX_H

/* Moves a descriptor to where no plugin comes upon it, closed when the process becomes another program. Returns where,
 * or -1. Takes -1 as well. */
int posix_keep(int fd);

#endif
