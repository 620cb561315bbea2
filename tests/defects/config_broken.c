/* Assumes that its configuration is an object. */
#define ON_CONFIG if (config_size == 0 || config[0] != '{') abort();
#include "good.h"
