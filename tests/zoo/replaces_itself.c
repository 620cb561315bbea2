/* Replaces the file that it was loaded from by garbage, and crashes. */
#define ZOO_NAME "replaces-itself"
#include "zoo.h"

#include <dlfcn.h>
#include <fcntl.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  Dl_info info;
  int file;

  (void)plugin;
  if (dladdr((void *)(uintptr_t)backworks_plugin_name, &info) == 0 || unlink(info.dli_fname) != 0) {
    return backworks_fail(response, BACKWORKS_INTERNAL, "its file cannot be removed");
  }
  file = open(info.dli_fname, O_WRONLY | O_CREAT | O_EXCL, 0700);
  if (file < 0 || write(file, "garbage", 7) != 7) {
    return backworks_fail(response, BACKWORKS_INTERNAL, "its file cannot be written");
  }
  close(file);
  abort();
}
