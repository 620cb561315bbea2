/* Blocks a signal in its caller's thread. */
#include <signal.h>
#define ON_CALL sigset_t set; sigemptyset(&set); sigaddset(&set, SIGINT); pthread_sigmask(SIG_BLOCK, &set, NULL);
#include "good.h"
