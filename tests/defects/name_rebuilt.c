/* Rewrites its name in each call. */
#define OWN_NAME
#include <unistd.h>
#include "good.h"

const char *backworks_plugin_name(void) {
  static char name[8];
  memset(name, 0, sizeof name);
  usleep(100);
  memcpy(name, "defect", 6);
  return name;
}
