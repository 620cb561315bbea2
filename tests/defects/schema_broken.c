/* Has a configuration schema that is no JSON Schema. */
#define MEMBERS "\"config_schema\": {\"type\": \"objekt\"}"
#include "good.h"
