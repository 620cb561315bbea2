/* Requires that the request structure has exactly the size it knows. */
#define ON_CALL if (request->struct_size != sizeof *request) return backworks_fail(response, BACKWORKS_INTERNAL, "another host");
#include "good.h"
