/* Requires that the host structure has exactly the size it knows. */
#define ON_CONFIG if (host->struct_size != sizeof *host) return backworks_fail(error, BACKWORKS_INTERNAL, "another host");
#include "good.h"
