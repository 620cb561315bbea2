/* Reads the configuration it was given again at shutdown. */
#define ON_INIT last = config;
#define ON_SHUTDOWN seen = *last;
static const char *last;
static volatile char seen;
#include "good.h"
