/* Sends a header field that smuggles in a second response. */
#define ZOO_NAME "bad-headers"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  static const char headers[] = "X-Zoo: a\r\n\r\nHTTP/1.1 200 OK\r\n";

  (void)plugin;
  response->headers = headers;
  response->headers_size = sizeof headers - 1;
  return backworks_answer(response, "{}", 2);
}
