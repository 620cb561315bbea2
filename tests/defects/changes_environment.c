/* Sets a variable of the environment. */
#include <stdlib.h>
#define ON_INIT setenv("DEFECT", "1", 1);
#include "good.h"
