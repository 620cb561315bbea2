/* Cannot free memory after shutdown. */
#define OWN_FREE_STRING
#define ON_INIT alive++;
#define ON_SHUTDOWN alive--, ended = 1;
static int alive, ended;
#include "good.h"

void backworks_plugin_free_string(char *data, size_t size) {
  /* Except the message of a failed init, which belongs to no instance. */
  if (data != NULL && ended && alive == 0 && memcmp(data, "the c", size < 5 ? size : 5) != 0) abort();
  free(data);
}
