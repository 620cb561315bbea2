/* Searches for a NUL at the end of the data. */
#define ON_CALL if (strlen(request->data) == 1u << 30) return BACKWORKS_INTERNAL;
#include "good.h"
