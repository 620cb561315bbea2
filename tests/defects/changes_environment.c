/* Sets an environment variable. */
#include <stdlib.h>
#define ON_INIT setenv("DEFECT", "1", 1);
#include "good.h"
