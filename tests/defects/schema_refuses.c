/* Has a schema that rejects the configuration the plugin runs with. */
#define MEMBERS "\"config_schema\": {\"type\": \"object\", \"required\": [\"file\"]}"
#include "good.h"
