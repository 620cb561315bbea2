/* Counts in an integer type that is too small. */
#define ON_CALL if (request->data_size > 20u << 20) abort();
#include "good.h"
