/* Returns a code that is none. */
#define ON_ERROR code = 99;
#include "good.h"
