/* Leaves a file open. */
#include <fcntl.h>
#define ON_INIT if (open("/dev/null", O_RDONLY) < 0) return BACKWORKS_INTERNAL;
#include "good.h"
