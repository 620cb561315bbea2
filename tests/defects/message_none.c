/* Fails without a message. */
#define ON_ERROR free(response->data), response->data = NULL, response->size = 0;
#include "good.h"
