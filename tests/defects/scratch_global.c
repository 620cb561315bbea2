/* Shares one scratch buffer among all instances, although thread_safe: false only serializes each instance. */
#include <unistd.h>
#define MEMBERS "\"thread_safe\": false"
#define ON_ANSWER if (response->size > 0) { scratch = response->data[response->size - 1]; usleep(100); response->data[response->size - 1] = scratch; }
static volatile char scratch;
#include "good.h"
