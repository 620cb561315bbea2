/* Wants a request of its own version, to the byte. */
#define ON_CALL if (request->struct_size != sizeof *request) return backworks_fail(response, BACKWORKS_INTERNAL, "another host");
#include "good.h"
