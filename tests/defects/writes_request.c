/* Writes to the request. */
#define ON_CALL *(volatile char *)(uintptr_t)request->endpoint = request->endpoint_size > 0 ? request->endpoint[0] : 0;
#include "good.h"
