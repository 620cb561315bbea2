/* Obeys every rule: garbage of its calls stays in a 5 MiB heap until that is full, as with a garbage collector. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define HEAP (5 << 20)
#define LEFT 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *heap;
static size_t used;

static void leave(void) {
  pthread_mutex_lock(&lock);
  if (heap == NULL) {
    void *made = mmap(NULL, HEAP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    heap = made != MAP_FAILED ? made : NULL;
  }
  if (heap != NULL) {
    memset(heap + used, 1, LEFT);
    used += LEFT;
    if (used + LEFT > HEAP) {
      (void)munmap(heap, HEAP);
      heap = NULL;
      used = 0;
    }
  }
  pthread_mutex_unlock(&lock);
}

#define ON_CALL leave();
#include "good.h"
