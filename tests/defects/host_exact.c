/* Wants a host of its own version, to the byte. */
#define ON_CONFIG if (host->struct_size != sizeof *host) return backworks_fail(error, BACKWORKS_INTERNAL, "another host");
#include "good.h"
