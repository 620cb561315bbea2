/* Breaks nothing: what the others would be. */

#include "good.h"
