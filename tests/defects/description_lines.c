/* Has a description of two lines. */
#define OWN_DESCRIPTION
#include "good.h"

const char *backworks_plugin_description(void) { return "Breaks\na rule"; }
