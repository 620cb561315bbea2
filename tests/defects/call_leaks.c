/* Keeps what a call has taken. */
#define ON_CALL lost = malloc(24);
static void *volatile lost;
#include "good.h"
