/* Does slow work in a constructor instead of in init. */
#include <unistd.h>
#include "good.h"

__attribute__((constructor)) static void prepare(void) { usleep(150000); }
