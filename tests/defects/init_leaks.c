/* Leaks a part of each instance. */
#define ON_SHUTDOWN plugin->config = NULL;
#include "good.h"
