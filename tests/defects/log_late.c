/* Logs through the host of an instance that has been shut down. */
#include <backworks_plugin.h>
#define ON_INIT last = host;
#define ON_REFUSAL if (last != NULL) last->log(last->context, BACKWORKS_INFO, "late", 4);
static const struct backworks_host *last;
#include "good.h"
