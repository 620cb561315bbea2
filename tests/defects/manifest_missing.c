/* Has no manifest. */
#define OWN_MANIFEST
#include "good.h"
