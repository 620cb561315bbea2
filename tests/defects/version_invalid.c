/* Has a version that is not a semantic version. */
#define VERSION "1.0"
#include "good.h"
