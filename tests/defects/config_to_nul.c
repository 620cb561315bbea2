/* Searches for a NUL at the end of its configuration. */
#define ON_CONFIG if (strlen(config) == 1u << 30) return BACKWORKS_INTERNAL;
#include "good.h"
