/* Allocates its name each time that it is asked. */
#define OWN_NAME
#include "good.h"

const char *backworks_plugin_name(void) { return strdup("defect"); }
