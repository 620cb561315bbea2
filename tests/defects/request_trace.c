/* Reads the trace context of a request structure that is too small to have one. */
#define ON_CALL if (request->traceparent != NULL && request->traceparent_size == 0) return BACKWORKS_INTERNAL;
#include "good.h"
