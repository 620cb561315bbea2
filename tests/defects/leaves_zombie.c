/* Starts a process and does not ask what became of it. */
#include <unistd.h>
#define ON_INIT if (!started++ && fork() == 0) _exit(0);
static int started;
#include "good.h"
