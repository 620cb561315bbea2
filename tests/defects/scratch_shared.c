/* Has one scratch buffer for all calls of an instance, but is declared thread-safe. */
#include <unistd.h>
#define ON_ANSWER if (response->size > 0) { plugin->scratch[0] = response->data[response->size - 1]; usleep(100); response->data[response->size - 1] = plugin->scratch[0]; }
#include "good.h"
