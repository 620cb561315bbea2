/* Has no shutdown. */
#define OWN_SHUTDOWN
#include "good.h"
