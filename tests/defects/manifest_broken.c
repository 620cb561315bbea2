/* Has a manifest that is not JSON. */
#define MANIFEST "{\"abi\": 1, \"name\": \"defect\", }"
#include "good.h"
