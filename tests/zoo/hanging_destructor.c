/* Has a destructor that hangs when the process exits. */
#define ZOO_NAME "hanging-destructor"
#define ZOO_TAME
#include "zoo.h"

__attribute__((destructor)) static void
linger(void)
{
  zoo_hang();
}
