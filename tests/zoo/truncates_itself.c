/* Truncates the file that it was loaded from, so that its code disappears. */
#define ZOO_NAME "truncates-itself"
#include "zoo.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  Dl_info info;

  (void)plugin;
  if (dladdr((void *)(uintptr_t)backworks_plugin_name, &info) == 0 || chmod(info.dli_fname, 0700) != 0 ||
      truncate(info.dli_fname, 0) != 0) {
    return backworks_fail(response, BACKWORKS_INTERNAL, "its file cannot be truncated");
  }
  return backworks_answer(response, "cut", 3);
}
