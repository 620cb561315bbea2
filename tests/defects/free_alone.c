/* Cannot free memory in several threads at once. */
#define OWN_FREE_STRING
#include <unistd.h>
#include "good.h"

static int entered;

void backworks_plugin_free_string(char *data, size_t size) {
  (void)size;
  if (__atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST) > 1) abort();
  usleep(100);
  __atomic_sub_fetch(&entered, 1, __ATOMIC_SEQ_CST);
  free(data);
}
