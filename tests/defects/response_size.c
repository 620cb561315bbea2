/* Changes struct_size of the response, which belongs to the host. */
#define ON_ANSWER response->struct_size = 0;
#include "good.h"
