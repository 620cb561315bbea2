/* Sends a Content-Length, which only the host may send. */
#define ON_ANSWER response->headers = "Content-Length: 5\r\n", response->headers_size = 19;
#include "good.h"
