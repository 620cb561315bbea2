/* Answers with a status that HTTP does not have. */
#define ON_ANSWER response->http_status = 99;
#include "good.h"
