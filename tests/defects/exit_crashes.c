/* Has a destructor that crashes. */

#include "good.h"

__attribute__((destructor)) static void end(void) { abort(); }
