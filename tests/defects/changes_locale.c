/* Sets the locale. */
#include <locale.h>
#define ON_INIT setlocale(LC_ALL, "C.UTF-8"), setlocale(LC_NUMERIC, "POSIX"), setlocale(LC_CTYPE, "POSIX");
#include "good.h"
