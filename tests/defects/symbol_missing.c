/* Has no shutdown function. */
#define OWN_SHUTDOWN
#include "good.h"
