/* SPDX-License-Identifier: MIT
 *
 * The plugin that is measured: -DANSWER selects the function of answers.h, -DNAME the plugin's name. The same library
 * has two plain functions for the hand-written contenders. It compiles as C and, in the compiled-in modules, as
 * C++. */
#include <backworks_plugin.h>

#include "answers.h"

BACKWORKS_PLUGIN(NAME, "1.0.0", "description": "Measured")
BACKWORKS_PLUGIN_FREE_STRING

struct backworks_plugin {
  char unused;
};

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  static backworks_plugin plugin;
  (void)host;
  (void)config;
  (void)config_size;
  (void)error;
  *out = &plugin;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  (void)plugin;
  response->data = ANSWER(request->data, request->data_size, &response->size);
  return response->data != NULL ? BACKWORKS_OK : BACKWORKS_RESOURCE_EXHAUSTED;
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  (void)plugin;
  return BACKWORKS_OK;
}

#ifndef __cplusplus
BACKWORKS_EXPORT char *plain_answer(const char *data, size_t size, size_t *answer_size) {
  return ANSWER(data, size, answer_size);
}

BACKWORKS_EXPORT void plain_free(char *answer) {
  free(answer);
}
#endif
