/* Fails to start. */
#define ON_CONFIG return backworks_fail(error, BACKWORKS_UNAVAILABLE, "not today");
#include "good.h"
