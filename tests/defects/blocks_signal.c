/* Blocks a signal in the thread of its caller. */
#include <signal.h>
#define ON_CALL sigset_t set; sigemptyset(&set); sigaddset(&set, SIGINT); pthread_sigmask(SIG_BLOCK, &set, NULL);
#include "good.h"
