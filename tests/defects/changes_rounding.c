/* Changes the floating-point rounding mode. */
#include <fenv.h>
#define ON_INIT fesetround(FE_UPWARD);
#include "good.h"
