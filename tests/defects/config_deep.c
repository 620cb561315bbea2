/* Recurses for every byte of its configuration. */
#include <stddef.h>
#define ON_CONFIG if (depth(config, config_size) < 0) return BACKWORKS_INTERNAL;
static int depth(const char *text, size_t size) {
  volatile char frame[64];
  int (*volatile again)(const char *, size_t) = depth;
  if (size == 0) return 0;
  frame[0] = text[0] == '[';
  return again(text + 1, size - 1) + frame[0];
}
#include "good.h"
