/* Rejects configurations with a message that is not UTF-8. */
#define ON_REFUSAL error->data[0] = (char)0xE9;
#include "good.h"
