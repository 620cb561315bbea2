/* Fails every call after the first error. */
#define ON_CALL if (failed) return backworks_fail(response, BACKWORKS_INTERNAL, "it has failed before");
#define ON_ERROR failed = 1;
#define ON_INIT failed = 0;
static int failed;
#include "good.h"
