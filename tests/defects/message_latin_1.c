/* Returns error messages that are not UTF-8. */
#define ON_ERROR response->data[0] = (char)0xE9;
#include "good.h"
