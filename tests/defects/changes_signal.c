/* Ignores a signal that the host handles. */
#include <signal.h>
#define ON_INIT signal(SIGTERM, SIG_IGN);
#include "good.h"
