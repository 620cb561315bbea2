/* Shares the state of each instance among all instances. */
#define ON_INIT instances++;
#define ON_SHUTDOWN instances--;
#define ON_ANSWER if (instances > 1 && response->size > 0) response->data[0] = '2';
static int instances;
#include "good.h"
