/* Reports success without an instance. */
#define OWN_INIT
#include "good.h"

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  (void)host;
  (void)config;
  (void)config_size;
  (void)error;
  *out = NULL;
  return BACKWORKS_OK;
}
