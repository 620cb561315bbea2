/* SPDX-License-Identifier: MIT */
#include "library.h"

#include <stdio.h>
#include <string.h>

#include "platform.h"

#define PREFIX "backworks_plugin_"

static const struct {
  const char *name;
  size_t offset;
  bool required;
} symbols[] = {
  { PREFIX "abi_version", offsetof(struct library, abi_version), true },
  { PREFIX "name", offsetof(struct library, name), true },
  { PREFIX "version", offsetof(struct library, version), true },
  { PREFIX "init", offsetof(struct library, init), true },
  { PREFIX "process_endpoint_data", offsetof(struct library, process), true },
  { PREFIX "free_string", offsetof(struct library, free_string), true },
  { PREFIX "shutdown", offsetof(struct library, shutdown), true },
  { PREFIX "description", offsetof(struct library, description), false },
  { PREFIX "health_check", offsetof(struct library, health_check), false },
  { PREFIX "reconfigure", offsetof(struct library, reconfigure), false },
};

uint32_t
library_open(struct library *library, const char *path, char *text, size_t size)
{
  void *handle = platform_open(path, text, size);
  size_t used = 0, i;

  if (handle == NULL) {
    return STAGE_OPEN;
  }
  memset(library, 0, sizeof *library);
  text[0] = '\0';
  for (i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
    function found = platform_symbol(handle, symbols[i].name);

    memcpy((char *)library + symbols[i].offset, &found, sizeof found);
    if (found == NULL && symbols[i].required && used < size) {
      used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? "\n" : "", symbols[i].name);
    }
  }
  return used > 0 ? STAGE_SYMBOLS : 0;
}

uint32_t
library_optional(const struct library *library)
{
  return (library->description != NULL ? OPTIONAL_DESCRIPTION : 0u) |
         (library->health_check != NULL ? OPTIONAL_HEALTH_CHECK : 0u) |
         (library->reconfigure != NULL ? OPTIONAL_RECONFIGURE : 0u);
}

struct bytes
library_text(const char *text)
{
  struct bytes found = { (const uint8_t *)text, 0 };

  while (text != NULL && found.size < MAX_TEXT && text[found.size] != '\0') {
    found.size++;
  }
  return found;
}

void
answer_prepare(struct answer *answer, const struct library *library)
{
  memset(&answer->response, 0, sizeof answer->response);
  answer->response.struct_size = sizeof answer->response;
  answer->library = library;
}

/* The size of a content type or of headers, in the form of a REPLY. */
static uint32_t
claimed(const char *text, size_t size)
{
  if (text == NULL && size == 0) {
    return ABSENT_TEXT;
  }
  return size < ABSENT_TEXT ? (uint32_t)size : ABSENT_TEXT - 1;
}

static bool
breaks(const void *pointer, size_t size, uint64_t limit)
{
  return (pointer == NULL && size > 0) || size > limit;
}

void
answer_take(struct answer *answer, int32_t code, uint64_t max_output)
{
  const backworks_response seen = answer->response;
  struct reply reply;
  size_t i;

  answer->broken = BROKEN_NONE;
  if (breaks(seen.data, seen.size, max_output)) {
    answer->broken = BROKEN_DATA;
  } else if (breaks(seen.content_type, seen.content_type_size, MAX_TEXT)) {
    answer->broken = BROKEN_CONTENT_TYPE;
  } else if (breaks(seen.headers, seen.headers_size, MAX_TEXT)) {
    answer->broken = BROKEN_HEADERS;
  }
  answer->given = seen.data;
  answer->given_size = seen.size;

  reply.code = code;
  reply.status = seen.http_status;
  reply.type_size = claimed(seen.content_type, seen.content_type_size);
  reply.headers_size = claimed(seen.headers, seen.headers_size);
  reply.data_size = seen.data == NULL && seen.size == 0 ? ABSENT_DATA : seen.size;
  reply.broken = answer->broken;
  reply.zero = 0;
  reply_write(answer->head, &reply);

  answer->parts[0] = (struct bytes){ answer->head, sizeof answer->head };
  answer->parts[1] = (struct bytes){ (const uint8_t *)seen.content_type, seen.content_type_size };
  answer->parts[2] = (struct bytes){ (const uint8_t *)seen.headers, seen.headers_size };
  answer->parts[3] = (struct bytes){ (const uint8_t *)seen.data, seen.size };
  for (i = 1; i < 4 && answer->broken != BROKEN_NONE; i++) {
    answer->parts[i].size = 0;
  }
}

void
answer_free(void *answer)
{
  const struct answer *taken = answer;

  if (taken->given != NULL) {
    taken->library->free_string(taken->given, taken->given_size);
  }
}
