/* Looks at the last request's data in the next call. */
#define ON_CALL seen = last == NULL ? 0 : *last, last = request->data_size > 0 ? request->data : NULL;
static const char *last;
static volatile char seen;
#include "good.h"
