/* Never returns from init. */
#define ZOO_NAME "slow-init"
#define ZOO_OWN_INIT
#define ZOO_TAME
#include "zoo.h"

int32_t
backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size, backworks_plugin **out,
                      backworks_response *error)
{
  (void)host;
  (void)config;
  (void)config_size;
  (void)out;
  (void)error;
  zoo_hang();
  return BACKWORKS_OK;
}
