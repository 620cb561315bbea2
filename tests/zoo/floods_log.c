/* Logs 20,000 records that contain bytes which are not text. */
#define ZOO_NAME "floods-log"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  int i;

  for (i = 0; i < 20000; i++) {
    backworks_log(plugin->host, BACKWORKS_INFO, "record %d \xff\x1b[2J\n forged", i);
  }
  return backworks_answer(response, "logged", 6);
}
