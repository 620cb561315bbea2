/* Prints to standard output. */
#define ON_INIT printf("ready\n");
#include "good.h"
