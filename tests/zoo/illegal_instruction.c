/* Executes an illegal instruction. */
#define ZOO_NAME "illegal-instruction"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("ud2");
#elif defined(__aarch64__)
  __asm__ volatile(".inst 0x00000000");
#else
  raise(SIGILL);
#endif
  return BACKWORKS_OK;
}
