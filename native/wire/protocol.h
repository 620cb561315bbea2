/* SPDX-License-Identifier: MIT
 *
 * The numbers of PROTOCOL.md, which explains them. */
#ifndef BACKWORKS_WIRE_PROTOCOL_H
#define BACKWORKS_WIRE_PROTOCOL_H

#include <stdint.h>

#define PROTOCOL_VERSION 1u

/* Kinds of frames. */
enum kind {
  KIND_START = 1,
  KIND_CALL = 2,
  KIND_HEALTH = 3,
  KIND_RECONFIGURE = 4,
  KIND_SHUTDOWN = 5,
  KIND_READY = 129,
  KIND_REPLY = 130,
  KIND_REFUSED = 131,
  KIND_LOG = 192
};

/* The step of startup that failed. */
enum stage {
  STAGE_PROTOCOL = 1,
  STAGE_LIMITS = 2,
  STAGE_OPEN = 3,
  STAGE_SYMBOLS = 4,
  STAGE_ABI = 5,
  STAGE_INIT = 6
};

/* The first invalid field of a response. */
enum broken { BROKEN_NONE = 0, BROKEN_DATA = 1, BROKEN_CONTENT_TYPE = 2, BROKEN_HEADERS = 3 };

/* The worker's exit codes. */
enum end { END_SHUTDOWN = 0, END_USAGE = 2, END_REFUSED = 3, END_BROKEN = 4, END_PIPES = 5, END_SYSTEM = 6 };

#define HEADER_SIZE 16u
#define START_SIZE 56u
#define CALL_SIZE 32u
#define READY_SIZE 28u
#define REPLY_SIZE 32u
#define REFUSED_SIZE 12u

#define MAX_DATA (UINT64_C(1) << 30)                        /* contract.MAX_ANSWER */
#define MAX_PAYLOAD ((UINT64_C(1) << 30) + (UINT64_C(1) << 20))
#define MAX_TEXT (UINT32_C(1) << 16)                        /* contract.MAX_FIELD and logs.MAX_TEXT */
#define MAX_PATH_SIZE (UINT32_C(1) << 17)

/* The sizes that stand for NULL: of a text, and of data. */
#define ABSENT_TEXT UINT32_MAX
#define ABSENT_DATA UINT64_MAX

#endif
