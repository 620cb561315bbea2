/* Assumes that it knows every method. */
#define ON_CALL if (backworks_equal(request->method, request->method_size, "BREW")) abort();
#include "good.h"
