/* Exports a helper of its own, which may stand in for another library's. */

#include "good.h"

BACKWORKS_EXPORT int parse(const char *text);

int parse(const char *text) { return text[0]; }
