/* Writes behind the response. */
#define ON_ANSWER ((char *)(response + 1))[8] = 1;
#include "good.h"
