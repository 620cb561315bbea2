/* Logs text that is not UTF-8. */
#define ON_INIT backworks_log(host, BACKWORKS_INFO, "caf\xe9");
#include "good.h"
