/* Does in a constructor what belongs to init. */
#include <unistd.h>
#include "good.h"

__attribute__((constructor)) static void prepare(void) { usleep(150000); }
