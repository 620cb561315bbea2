/* Reports another version than its manifest. */
#define VERSION "1.0.1"
#include "good.h"
