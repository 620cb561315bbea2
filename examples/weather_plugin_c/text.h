/* Borrowed text: a pointer and a size, not NUL-terminated. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct text {
  const char *at;
  size_t size;
} text;

#define QUOTED_MAX 28

static inline bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static inline bool equal(text t, const char *word) { return t.size == strlen(word) && memcmp(t.at, word, t.size) == 0; }

static inline void skip(text *t, size_t size) {
  t->at += size;
  t->size -= size;
}

static inline void skip_space(text *t) {
  while (t->size > 0 && is_space(t->at[0])) skip(t, 1);
}

static inline text trimmed(text t) {
  skip_space(&t);
  while (t.size > 0 && is_space(t.at[t.size - 1])) t.size--;
  return t;
}

/* If the text begins with a word, advances past it. */
static inline bool take(text *t, const char *word) {
  size_t size = strlen(word);
  if (t->size < size || memcmp(t->at, word, size) != 0) return false;
  skip(t, size);
  return true;
}

/* Makes any text safe for a message: at most 24 bytes, with '?' for everything except printable ASCII. */
static inline const char *quoted(text t, char out[QUOTED_MAX]) {
  size_t size = t.size < 24 ? t.size : 24;
  for (size_t i = 0; i < size; i++) out[i] = t.at[i] >= ' ' && t.at[i] <= '~' ? t.at[i] : '?';
  strcpy(out + size, t.size > size ? "..." : "");
  return out;
}

#endif
