/* Returns responses in a buffer that the next response overwrites. */
#define OWN_FREE_STRING
#define OWN_PROCESS
#include "good.h"

static char answer[1 << 20];

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  (void)plugin;
  response->data = answer;
  response->size = request->data_size < sizeof answer ? request->data_size : sizeof answer;
  memcpy(answer, request->data, response->size);
  return BACKWORKS_OK;
}

void backworks_plugin_free_string(char *data, size_t size) {
  if (data != answer) free(data);
  (void)size;
}
