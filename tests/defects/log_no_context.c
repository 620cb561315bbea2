/* Logs without its host's context. */
#define ON_INIT host->log(NULL, BACKWORKS_INFO, "lost", 4);
#include "good.h"
