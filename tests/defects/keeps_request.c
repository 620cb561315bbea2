/* Reads the data of the previous request in the next call. */
#define ON_CALL seen = last == NULL ? 0 : *last, last = request->data_size > 0 ? request->data : NULL;
static _Thread_local const char *last;
static volatile char seen;
#include "good.h"
