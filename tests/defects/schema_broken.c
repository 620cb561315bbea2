/* Has a configuration schema that is not a JSON Schema. */
#define MEMBERS "\"config_schema\": {\"type\": \"objekt\"}"
#include "good.h"
