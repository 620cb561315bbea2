/* Reads the trace context of a request that has none. */
#define ON_CALL if (request->traceparent != NULL && request->traceparent_size == 0) return BACKWORKS_INTERNAL;
#include "good.h"
