/* Crashes while the dynamic linker still binds its symbols, before any constructor. */
#define ZOO_NAME "crashes-at-dlopen"
#define ZOO_TAME
#include "zoo.h"

typedef int (*chosen)(void);

BACKWORKS_EXPORT int
choice(void) __attribute__((ifunc("choose")));

/* Not instrumented and without a stack guard: nothing of the C library is bound yet. */
__attribute__((used)) static chosen
choose(void)
{
  *(int *volatile *)0 = 0;
  return (chosen)0;
}

/* A reference for the linker to bind. */
BACKWORKS_EXPORT chosen zoo_choice;
chosen zoo_choice = choice;
