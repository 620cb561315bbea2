/* Has a name that no host takes. */
#define NAME "Bad Name"
#include "good.h"
