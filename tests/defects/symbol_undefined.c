/* Needs a function that does not exist. */
#define ON_INIT nowhere_to_be_found();
extern void nowhere_to_be_found(void);
#include "good.h"
