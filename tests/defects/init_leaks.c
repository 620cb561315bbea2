/* Keeps a part of an instance for ever. */
#define ON_SHUTDOWN plugin->config = NULL;
#include "good.h"
