/* Returns an undefined code. */
#define ON_ERROR code = 99;
#include "good.h"
