/* Does not terminate its header fields. */
#define ON_ANSWER response->headers_size -= 2;
#include "good.h"
