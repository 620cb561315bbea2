/* Assumes that numbers are small. */
#define ON_CONFIG if (memmem(config, config_size, "1e+300", 6) != NULL) abort();
#include "good.h"
