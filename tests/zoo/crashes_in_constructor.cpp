// Crashes in the constructor of a static object.
#include <cstdlib>

#define ZOO_NAME "crashes-in-constructor"
#define ZOO_TAME
#include "zoo.h"

namespace {

struct Crash {
  Crash() { std::abort(); }
};

Crash crash;

}  // namespace
