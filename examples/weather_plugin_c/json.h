/* A reader of JSON that finds members of objects in the text itself and checks the whole of it on the way. It allocates
 * nothing, and goes no deeper than JSON_DEPTH. */
#ifndef JSON_H
#define JSON_H

#include "text.h"

#define JSON_DEPTH 127

typedef enum json_found { JSON_BROKEN, JSON_ABSENT, JSON_FOUND } json_found;

/* Looks up a member of an object; the last one counts, if there are several. JSON_BROKEN if this is no JSON object. */
json_found json_member(text object, const char *name, text *value);

/* Writes the text that a string of checked JSON stands for; out has room for value.size bytes. False if it is no string. */
bool json_string(text value, char *out, size_t *size);

/* Returns where the first byte stands that is not UTF-8, or the size of the text. */
size_t utf8_valid_up_to(text t);

#endif
