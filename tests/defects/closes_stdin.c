/* Closes one of the host's descriptors. */
#include <unistd.h>
#define ON_SHUTDOWN close(0);
#include "good.h"
