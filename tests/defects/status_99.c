/* Returns an invalid HTTP status. */
#define ON_ANSWER response->http_status = 99;
#include "good.h"
