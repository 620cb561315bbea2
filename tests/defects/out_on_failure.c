/* Stores an instance although init fails. */
#define ON_REFUSAL *out = (backworks_plugin *)(uintptr_t)16;
#include "good.h"
