/* Crashes when it frees NULL. */
#define OWN_FREE_STRING
#include "good.h"

void backworks_plugin_free_string(char *data, size_t size) {
  (void)size;
  *(volatile char *)data = 0;
  free(data);
}
