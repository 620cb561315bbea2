/* Has a schema that does not take the configuration that the plugin runs with. */
#define MEMBERS "\"config_schema\": {\"type\": \"object\", \"required\": [\"file\"]}"
#include "good.h"
