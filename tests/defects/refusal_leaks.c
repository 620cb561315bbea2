/* Leaks memory when init fails. */
#define ON_REFUSAL plugin = calloc(1, 40), lost = plugin;
static void *volatile lost;
#include "good.h"
