/* Does not expect one byte, wherever it stands. */
#define ON_CALL if (memchr(request->data, 0x9F, request->data_size) != NULL) abort();
#include "good.h"
