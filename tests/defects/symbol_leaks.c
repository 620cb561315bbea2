/* Exports an internal function, which may replace another library's. */

#include "good.h"

BACKWORKS_EXPORT int parse(const char *text);

int parse(const char *text) { return text[0]; }
