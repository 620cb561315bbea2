/* Has an invalid name. */
#define NAME "Bad Name"
#include "good.h"
