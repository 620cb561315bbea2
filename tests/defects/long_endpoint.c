/* Has a buffer for endpoints of at most 1,000 bytes. */
#define ON_CALL if (request->endpoint_size > 1000) abort();
#include "good.h"
