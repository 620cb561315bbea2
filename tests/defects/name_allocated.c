/* Allocates its name in each call. */
#define OWN_NAME
#include "good.h"

const char *backworks_plugin_name(void) { return strdup("defect"); }
