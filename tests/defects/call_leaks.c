/* Leaks memory in each call. */
#define ON_CALL lost = malloc(24);
static void *volatile lost;
#include "good.h"
