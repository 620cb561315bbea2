/* Ignores a signal that is the host's. */
#include <signal.h>
#define ON_INIT signal(SIGTERM, SIG_IGN);
#include "good.h"
