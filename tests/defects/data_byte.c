/* Crashes on one particular byte anywhere in the data. */
#define ON_CALL if (memchr(request->data, 0x9F, request->data_size) != NULL) abort();
#include "good.h"
