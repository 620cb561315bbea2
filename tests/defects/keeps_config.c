/* Looks at its configuration when it ends. */
#define ON_INIT last = config;
#define ON_SHUTDOWN seen = *last;
static const char *last;
static volatile char seen;
#include "good.h"
