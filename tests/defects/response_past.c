/* Writes past the end of the response structure. */
#define ON_ANSWER ((char *)(response + 1))[8] = 1;
#include "good.h"
