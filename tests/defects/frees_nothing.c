/* Has a free function that frees nothing. */
#define OWN_FREE_STRING
#include "good.h"

void backworks_plugin_free_string(char *data, size_t size) {
  (void)data;
  (void)size;
}
