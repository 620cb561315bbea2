/* Changes process-wide state: directory, environment, locale, umask, signals, priority. */
#define ZOO_NAME "changes-process"
#include "zoo.h"

#include <locale.h>
#include <sys/resource.h>
#include <sys/stat.h>

#if defined(__APPLE__)
extern char **environ;
#endif

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  int number;

  (void)plugin;
  if (chdir("/") != 0) {
    return BACKWORKS_INTERNAL;
  }
  environ = NULL;
  setenv("PATH", "/nowhere", 1);
  setenv("PYTHONHOME", "/nowhere", 1);
  setlocale(LC_ALL, "C");
  setlocale(LC_NUMERIC, "de_DE.UTF-8");
  umask(0777);
  for (number = 1; number < NSIG; number++) {
    signal(number, SIG_IGN);
  }
  setpriority(PRIO_PROCESS, 0, 19);
  return backworks_answer(response, "changed", 7);
}
