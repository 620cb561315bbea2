/* Assumes that its configuration is not empty. */
#define ON_CONFIG if (config_size == 2 && config[1] == '}') abort();
#include "good.h"
