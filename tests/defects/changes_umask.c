/* Sets the umask. */
#include <sys/stat.h>
#define ON_INIT umask(077);
#include "good.h"
