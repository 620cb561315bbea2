/* Is built for another version of the ABI. */
#define OWN_ABI_VERSION
#include "good.h"

uint32_t backworks_plugin_abi_version(void) { return 2; }
