/* Changes the size of the response, which is the host's. */
#define ON_ANSWER response->struct_size = 0;
#include "good.h"
