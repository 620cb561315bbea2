/* Leaves a thread running. */
#include <pthread.h>
#include <unistd.h>
#define ON_INIT pthread_t thread; if (!started++ && pthread_create(&thread, NULL, wait, NULL) == 0) pthread_detach(thread);
static int started;
static void *wait(void *unused) { sleep(60); return unused; }
#include "good.h"
