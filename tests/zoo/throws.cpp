// Lets a C++ exception out of the library.
#include <stdexcept>

#define ZOO_NAME "throws"
#include "zoo.h"

static int32_t
bite(backworks_plugin *plugin, backworks_response *response)
{
  (void)plugin;
  (void)response;
  throw std::runtime_error("thrown by the zoo");
}
