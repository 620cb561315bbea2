#include "json.h"

#include <float.h>
#include <stdlib.h>

static bool take_digits(text *t) {
  text before = *t;
  while (t->size > 0 && t->at[0] >= '0' && t->at[0] <= '9') {
    t->at++;
    t->size--;
  }
  return t->size < before.size;
}

/* Takes four hexadecimal digits; returns their value, or -1. */
static int take_hex(text *t) {
  int value = 0;
  for (size_t i = 0; i < 4; i++) {
    const char *hex = "0123456789abcdefABCDEF", *digit = t->size > i && t->at[i] != 0 ? strchr(hex, t->at[i]) : NULL;
    if (digit == NULL) return -1;
    value = value * 16 + (int)(digit - hex < 16 ? digit - hex : digit - hex - 6);
  }
  t->at += 4;
  t->size -= 4;
  return value;
}

/* Takes the character after a backslash; returns its code point, or -1. */
static int take_escape(text *t) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  if (!take(t, "u")) {
    const char *name = t->size > 0 && t->at[0] != 0 ? strchr(names, t->at[0]) : NULL;
    if (name == NULL) return -1;
    t->at++;
    t->size--;
    return values[name - names];
  }
  int code = take_hex(t);
  if (code < 0xD800 || code > 0xDFFF) return code;
  int low = code < 0xDC00 && take(t, "\\u") ? take_hex(t) : -1;
  return low < 0xDC00 || low > 0xDFFF ? -1 : 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00);
}

static bool skip_string(text *t) {
  if (!take(t, "\"")) return false;
  while (t->size > 0 && t->at[0] != '"') {
    if ((unsigned char)t->at[0] < 0x20) return false;
    bool escape = t->at[0] == '\\';
    t->at++;
    t->size--;
    if (escape && take_escape(t) < 0) return false;
  }
  return take(t, "\"");
}

/* Rejects a number that does not fit into a double, as other JSON parsers do. */
static bool skip_number(text *t) {
  const char *start = t->at;
  take(t, "-");
  if (!take(t, "0") && !take_digits(t)) return false;
  if (take(t, ".") && !take_digits(t)) return false;
  if (take(t, "e") || take(t, "E")) {
    if (!take(t, "+")) take(t, "-");
    if (!take_digits(t)) return false;
  }
  /* strtod stops at the next character, which exists because the number is inside an object. */
  if (t->size == 0 || strchr(",]} \t\r\n", t->at[0]) == NULL) return false;
  double value = strtod(start, NULL);
  return value >= -DBL_MAX && value <= DBL_MAX;
}

/* Skips one value. If `name` is not NULL and the value is an object, stores the value of the member `name`. */
static bool skip_value(text *t, int depth, const char *name, text *value) {
  bool object = take(t, "{");
  if (!object && !take(t, "[")) {
    return t->size > 0 && t->at[0] == '"' ? skip_string(t)
                                          : take(t, "true") || take(t, "false") || take(t, "null") || skip_number(t);
  }
  const char *end = object ? "}" : "]";
  skip_space(t);
  if (depth == JSON_DEPTH || take(t, end)) return depth < JSON_DEPTH;
  do {
    bool wanted = false;
    skip_space(t);
    if (object) {
      char key[64];
      size_t size = 0;
      text token = *t;
      if (!skip_string(t)) return false;
      token.size -= t->size;
      wanted = name != NULL && token.size <= sizeof key && json_string(token, key, &size) &&
               equal((text){key, size}, name);
      skip_space(t);
      if (!take(t, ":")) return false;
      skip_space(t);
    }
    text member = *t;
    if (!skip_value(t, depth + 1, NULL, NULL)) return false;
    member.size -= t->size;
    if (wanted) *value = member;
    skip_space(t);
  } while (take(t, ","));
  return take(t, end);
}

json_found json_member(text object, const char *name, text *value) {
  *value = (text){NULL, 0};
  skip_space(&object);
  if (object.size == 0 || object.at[0] != '{' || !skip_value(&object, 0, name, value)) return JSON_BROKEN;
  skip_space(&object);
  return object.size > 0 ? JSON_BROKEN : value->at == NULL ? JSON_ABSENT : JSON_FOUND;
}

bool json_string(text value, char *out, size_t *size) {
  *size = 0;
  if (!take(&value, "\"")) return false;
  while (value.at[0] != '"') {
    if (!take(&value, "\\")) {
      out[(*size)++] = *value.at++;
      value.size--;
      continue;
    }
    unsigned code = (unsigned)take_escape(&value);
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned lead[] = {0, 0xC0, 0xE0, 0xF0};
    out[(*size)++] = (char)(lead[more] | code >> 6 * more);
    while (more-- > 0) out[(*size)++] = (char)(0x80 | ((code >> 6 * more) & 0x3F));
  }
  return true;
}

size_t utf8_valid_up_to(text t) {
  size_t i = 0;
  while (i < t.size) {
    unsigned char lead = (unsigned char)t.at[i];
    size_t more = lead < 0x80 ? 0 : lead < 0xC2 ? 4 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : 4;
    unsigned code = lead & (0x7Fu >> (more + 1));
    if (more > t.size - i - 1) return i;
    for (size_t j = 1; j <= more; j++) {
      if (((unsigned char)t.at[i + j] & 0xC0) != 0x80) return i;
      code = code << 6 | ((unsigned char)t.at[i + j] & 0x3F);
    }
    if ((more == 2 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) ||
        (more == 3 && (code < 0x10000 || code > 0x10FFFF)) || more == 4) {
      return i;
    }
    i += more + 1;
  }
  return i;
}
