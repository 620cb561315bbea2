/* Fails without a word. */
#define ON_ERROR free(response->data), response->data = NULL, response->size = 0;
#include "good.h"
