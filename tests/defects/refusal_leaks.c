/* Keeps what an init that failed has taken. */
#define ON_REFUSAL plugin = calloc(1, 40), lost = plugin;
static void *volatile lost;
#include "good.h"
