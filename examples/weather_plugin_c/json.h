/* A JSON parser that finds members of objects in place and validates the whole text on the way. It allocates nothing,
 * and accepts at most JSON_DEPTH levels. */
#ifndef JSON_H
#define JSON_H

#include "text.h"

#define JSON_DEPTH 127

typedef enum json_found { JSON_BROKEN, JSON_ABSENT, JSON_FOUND } json_found;

/* Looks up a member of an object; the last of several wins. JSON_BROKEN if the text is not a JSON object. */
json_found json_member(text object, const char *name, text *value);

/* Decodes a string of validated JSON into out, which must hold value.size bytes. False if the value is not a string. */
bool json_string(text value, char *out, size_t *size);

/* Returns the position of the first byte that is not UTF-8, or the size of the text. */
size_t utf8_valid_up_to(text t);

#endif
