/* Crashes while the dynamic linker resolves its symbols, before any constructor runs. */
#define ZOO_NAME "crashes-at-dlopen"
#define ZOO_TAME
#include "zoo.h"

typedef int (*chosen)(void);

BACKWORKS_EXPORT int
choice(void) __attribute__((ifunc("choose")));

/* Not instrumented, no stack protector: no symbol of the C library is resolved yet. */
__attribute__((used)) static chosen
choose(void)
{
  *(int *volatile *)0 = 0;
  return (chosen)0;
}

/* A reference for the linker to resolve. */
BACKWORKS_EXPORT chosen zoo_choice;
chosen zoo_choice = choice;
