/* Returns its version in memory that is reused later. */
#define OWN_VERSION
#define ON_SHUTDOWN memcpy(version, "9.9.9", 5);
static char version[] = "1.0.0";
#include "good.h"

const char *backworks_plugin_version(void) { return version; }
