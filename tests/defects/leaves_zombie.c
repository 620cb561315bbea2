/* Starts a process and never waits for it. */
#include <unistd.h>
#define ON_INIT if (!started++ && fork() == 0) _exit(0);
static int started;
#include "good.h"
