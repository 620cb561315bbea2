/* Stores an instance that it does not start. */
#define ON_REFUSAL *out = (backworks_plugin *)(uintptr_t)16;
#include "good.h"
