/* Leaks mapped pages in each call. */
#include <sys/mman.h>
#define ON_CALL *(char *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) = 1;
#include "good.h"
