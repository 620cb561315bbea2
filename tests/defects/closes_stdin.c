/* Closes a descriptor of its host. */
#include <unistd.h>
#define ON_SHUTDOWN close(0);
#include "good.h"
