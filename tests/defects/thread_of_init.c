/* Can only be called in the thread that called init. */
#define ON_INIT mine = 1;
#define ON_CALL if (!mine) return backworks_fail(response, BACKWORKS_INTERNAL, "another thread");
static __thread int mine;
#include "good.h"
