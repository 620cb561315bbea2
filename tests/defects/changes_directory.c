/* Changes the working directory. */
#include <unistd.h>
#define ON_INIT if (chdir("/") != 0) return BACKWORKS_INTERNAL;
#include "good.h"
