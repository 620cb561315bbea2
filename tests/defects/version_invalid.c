/* Has a version that is no semantic version. */
#define VERSION "1.0"
#include "good.h"
