/* Cannot start again after a shutdown. */
#define ON_CONFIG if (ended) return backworks_fail(error, BACKWORKS_INTERNAL, "it was shut down");
#define ON_SHUTDOWN ended = 1;
static int ended;
#include "good.h"
