/* SPDX-License-Identifier: MIT */
#ifndef BACKWORKS_WORKER_SERVE_H
#define BACKWORKS_WORKER_SERVE_H

#include "channel.h"

/* Takes frames from the host and answers them until the process ends. */
NORETURN void serve(struct channel *channel);

#endif
