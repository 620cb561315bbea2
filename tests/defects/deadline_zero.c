/* Treats no limit as no time left. */
#define ON_CALL if (request->time_left_ns == 0) return backworks_fail(response, BACKWORKS_DEADLINE_EXCEEDED, "no time");
#include "good.h"
