/* Keeps working after its deadline. */
#include <unistd.h>
#define ON_CALL if (request->time_left_ns == 1 && !slept++) usleep(1200000);
static int slept;
#include "good.h"
