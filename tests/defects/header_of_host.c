/* Says how long its answer is, which is the host's to say. */
#define ON_ANSWER response->headers = "Content-Length: 5\r\n", response->headers_size = 19;
#include "good.h"
