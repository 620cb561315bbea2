/* Has floating-point numbers rounded upwards. */
#include <fenv.h>
#define ON_INIT fesetround(FE_UPWARD);
#include "good.h"
