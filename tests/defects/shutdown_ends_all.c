/* Destroys what other instances need when one is shut down. */
#define ON_INIT ended = 0;
#define ON_SHUTDOWN ended = 1;
#define ON_CALL if (ended) return backworks_fail(response, BACKWORKS_INTERNAL, "it was shut down");
static int ended;
#include "good.h"
