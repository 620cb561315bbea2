/* Obeys every rule: the plugin without a defect. */

#include "good.h"
