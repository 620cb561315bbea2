/* Logs without the context of its host. */
#define ON_INIT host->log(NULL, BACKWORKS_INFO, "lost", 4);
#include "good.h"
