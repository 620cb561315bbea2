/* A weather service in C: an example of a complete plugin, from the configuration to the responses.
 *
 *   GET  /api/weather/{station}   the station's newest report, decoded
 *   GET  /api/weather?limit=N     the stations
 *   POST /api/weather             decodes the report in the body
 *
 * The plugin decodes the reports of a file (the configuration's "reports") once at startup. They do not change
 * afterwards, so any number of calls can run concurrently without a lock. */
#include <errno.h>

#include "backworks_plugin.h"
#include "json.h"
#include "metar.h"

#if defined(_WIN32)
#include <windows.h>
#endif

BACKWORKS_PLUGIN("weather_c", "1.0.0",
                 "description": "Decodes METAR aviation weather reports and serves them by station",
                 "license": "MIT",
                 "thread_safe": true,
                 "config_schema": {
                   "type": "object",
                   "properties": {
                     "reports": {"type": "string", "format": "path", "description": "A file of reports, one a line"},
                     "strict": {"type": "boolean", "default": false,
                                "description": "Whether a report with a group that is not understood is refused"}
                   },
                   "additionalProperties": false
                 })
BACKWORKS_PLUGIN_FREE_STRING

#define PREFIX "/api/weather"
#define FILE_MAX (64L << 20) /* maximum bytes of the reports file */
#define WARNINGS_MAX 10      /* maximum lines that are logged one by one */
#define LIMIT_DIGITS 9

typedef struct station {
  char name[4];
  int minute; /* of the month, at which the report was observed */
  char *json;
  size_t size;
} station;

struct backworks_plugin {
  const backworks_host *host;
  bool strict;
  station *stations; /* sorted by name */
  size_t count;
};

/* Returns whether the station exists, and its position, or the position at which to insert it. */
static bool find(const backworks_plugin *plugin, text name, size_t *index) {
  size_t low = 0, high = plugin->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = memcmp(plugin->stations[middle].name, name.at, 4);
    if (order == 0) {
      *index = middle;
      return true;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  *index = low;
  return false;
}

/* A report has a day but no month: if two are more than half a month apart, the month has changed between them and the
 * higher day is the older one. If two are from the same minute, the later one in the file wins. */
static bool is_newer(int minute, int than) {
  int half_a_month = 15 * 24 * 60, later = minute - than;
  return later < -half_a_month || (later >= 0 && later <= half_a_month);
}

/* Stores a report, unless there is a newer one of its station. False if memory runs out. */
static bool keep(backworks_plugin *plugin, const report *r) {
  char json[METAR_JSON_MAX];
  size_t index, size;
  int minute = (r->day * 24 + r->hour) * 60 + r->minute;
  bool known = find(plugin, r->station, &index);
  station *place = plugin->stations + index;
  if (known && !is_newer(minute, place->minute)) return true;
  size = metar_json(r, json);
  char *copy = malloc(size);
  if (copy == NULL) return false;
  if (known) {
    free(place->json);
  } else {
    memmove(place + 1, place, (plugin->count++ - index) * sizeof *place);
  }
  *place = (station){.minute = minute, .json = memcpy(copy, json, size), .size = size};
  memcpy(place->name, r->station.at, sizeof place->name);
  return true;
}

/* Removes and returns the first line. */
static text next_line(text *file) {
  const char *end = memchr(file->at, '\n', file->size);
  text line = {file->at, end == NULL ? file->size : (size_t)(end - file->at) + 1};
  file->at += line.size;
  file->size -= line.size;
  return line;
}

static bool keep_all(backworks_plugin *plugin, text file) {
  size_t lines = 0, skipped = 0;
  take(&file, "\xEF\xBB\xBF"); /* a byte order mark */
  for (text rest = file; rest.size > 0; lines++) next_line(&rest);
  plugin->stations = calloc(lines + 1, sizeof *plugin->stations);
  if (plugin->stations == NULL) return false;
  for (size_t number = 1; number <= lines; number++) {
    text line = next_line(&file);
    char message[METAR_MESSAGE_MAX];
    report r;
    if (trimmed(line).size == 0 || line.at[0] == '#') continue;
    if (metar_decode(line, plugin->strict, &r, message)) {
      if (!keep(plugin, &r)) return false;
    } else if (skipped++ < WARNINGS_MAX) {
      backworks_log(plugin->host, BACKWORKS_WARNING, "line %zu of the reports is skipped: %s", number, message);
    }
  }
  if (skipped > WARNINGS_MAX) {
    backworks_log(plugin->host, BACKWORKS_WARNING, "%zu lines of the reports are skipped in all", skipped);
  }
  backworks_log(plugin->host, BACKWORKS_INFO, "stations with a report: %zu", plugin->count);
  return true;
}

/* Opens a file with a UTF-8 name; only Windows needs a conversion. */
static FILE *open_file(const char *path) {
#if defined(_WIN32)
  wchar_t wide[1024];
  return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) > 0 ? _wfopen(wide, L"rb") : NULL;
#else
  return fopen(path, "rb");
#endif
}

/* Reads a whole file; returns NULL on failure. */
static char *read_all(FILE *file, size_t *size) {
  long end = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
  if (end < 0 || end > FILE_MAX || fseek(file, 0, SEEK_SET) != 0) return NULL;
  char *data = malloc((size_t)end + 1);
  if (data != NULL) *size = fread(data, 1, (size_t)end, file);
  return data;
}

static int32_t load(backworks_plugin *plugin, const char *path, backworks_response *error) {
  FILE *file = open_file(path);
  if (file == NULL && errno == ENOENT) {
    return backworks_fail(error, BACKWORKS_NOT_FOUND, "there is no file '%s', which should hold the reports", path);
  }
  text all = {NULL, 0};
  char *data = file == NULL ? NULL : read_all(file, &all.size);
  if (file != NULL) fclose(file);
  if (data == NULL) {
    return backworks_fail(error, BACKWORKS_INVALID_ARGUMENT,
                          "'%s', which should hold the reports, is not a readable file of at most 64 MiB", path);
  }
  all.at = data;
  bool kept = keep_all(plugin, all);
  free(data);
  return kept ? BACKWORKS_OK : backworks_fail(error, BACKWORKS_RESOURCE_EXHAUSTED, "out of memory");
}

/* Reads the member "strict"; false if it is neither true nor false. */
static bool read_strict(text config, bool *strict) {
  text value;
  if (json_member(config, "strict", &value) != JSON_FOUND) return true;
  *strict = equal(value, "true");
  return *strict || equal(value, "false");
}

int32_t backworks_plugin_init(const backworks_host *host, const char *config_json, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  text config = {config_json, config_size}, value;
  json_found found = json_member(config, "reports", &value);
  backworks_plugin *plugin = calloc(1, sizeof *plugin);
  char *path = malloc(value.size + 1);
  size_t size = 0;
  int32_t code = BACKWORKS_OK;
  if (plugin == NULL || path == NULL) {
    code = BACKWORKS_RESOURCE_EXHAUSTED;
  } else if (found == JSON_BROKEN) {
    code = backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "the configuration is no JSON object");
  } else if (!read_strict(config, &plugin->strict)) {
    code = backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "`strict` is not true or false");
  } else if (found == JSON_FOUND && (!json_string(value, path, &size) || memchr(path, 0, size) != NULL)) {
    code = backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "`reports` is the name of a file, as text without NUL");
  } else {
    plugin->host = host;
    if (found == JSON_FOUND) {
      path[size] = 0;
      code = load(plugin, path, error);
    }
  }
  free(path);
  if (code == BACKWORKS_OK) {
    *out = plugin;
  } else if (plugin != NULL) {
    (void)backworks_plugin_shutdown(plugin);
  }
  return code;
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  for (size_t i = 0; i < plugin->count; i++) free(plugin->stations[i].json);
  free(plugin->stations);
  free(plugin);
  return BACKWORKS_OK;
}

/* Responds with a station's report. Converts the name to upper case in place. */
static int32_t answer_station(const backworks_plugin *plugin, char *name, size_t size, backworks_response *response) {
  char quote[QUOTED_MAX];
  size_t index;
  for (size_t i = 0; i < size; i++) {
    name[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
  }
  if (size != 4 || !find(plugin, (text){name, size}, &index)) {
    return backworks_fail(response, BACKWORKS_NOT_FOUND, "no report for station %s", quoted((text){name, size}, quote));
  }
  return backworks_answer(response, plugin->stations[index].json, plugin->stations[index].size);
}

static int32_t answer_decoded(const backworks_plugin *plugin, text raw, backworks_response *response) {
  char json[METAR_JSON_MAX], message[METAR_MESSAGE_MAX];
  report r;
  if (!metar_decode(raw, plugin->strict, &r, message)) {
    return backworks_fail(response, BACKWORKS_INVALID_ARGUMENT, "%s", message);
  }
  return backworks_answer(response, json, metar_json(&r, json));
}

/* Looks up a member of a member of the request; `out` receives its text. JSON_BROKEN if it is not a string. */
static json_found look_up(text json, const char *outer, const char *inner, char *out, text *found) {
  text value;
  *found = (text){out, 0};
  if (json_member(json, outer, &value) != JSON_FOUND || json_member(value, inner, &value) != JSON_FOUND) {
    return JSON_ABSENT;
  }
  return json_string(value, out, &found->size) ? JSON_FOUND : JSON_BROKEN;
}

/* Parses a limit: digits that form a number above zero. */
static bool read_limit(text t, size_t *limit) {
  *limit = 0;
  for (size_t i = 0; i < t.size && t.size <= LIMIT_DIGITS; i++) {
    if (t.at[i] < '0' || t.at[i] > '9') return false;
    *limit = *limit * 10 + (size_t)(t.at[i] - '0');
  }
  return *limit > 0;
}

/* Responds with the stations, up to the `limit` of the request or of the endpoint's query. */
static int32_t answer_list(const backworks_plugin *plugin, text json, text query, char *scratch,
                           backworks_response *response) {
  char quote[QUOTED_MAX];
  size_t shown = plugin->count, number;
  text limit = query;
  json_found asked = look_up(json, "query", "limit", scratch, &limit);
  if (asked == JSON_ABSENT && take(&query, "limit=")) {
    limit = query;
    asked = JSON_FOUND;
  }
  if (asked == JSON_BROKEN) {
    return backworks_fail(response, BACKWORKS_INVALID_ARGUMENT, "limit is given more than once, or is no text");
  }
  if (asked == JSON_FOUND) {
    if (!read_limit(limit, &number)) {
      return backworks_fail(response, BACKWORKS_INVALID_ARGUMENT, "limit is '%s'; 1 to 999999999 is accepted",
                            quoted(limit, quote));
    }
    shown = number < shown ? number : shown;
  }
  char *list = malloc(64 + shown * sizeof "\"XXXX\",");
  if (list == NULL) return BACKWORKS_RESOURCE_EXHAUSTED;
  size_t size = (size_t)sprintf(list, "{\"count\":%zu,\"stations\":[", plugin->count);
  for (size_t i = 0; i < shown; i++) {
    size += (size_t)sprintf(list + size, i == 0 ? "\"%.4s\"" : ",\"%.4s\"", plugin->stations[i].name);
  }
  size += (size_t)sprintf(list + size, "]}");
  return backworks_answer_owned(response, list, size);
}

/* `scratch` receives the decoded texts; it has room for the data and the endpoint. */
static int32_t process(const backworks_plugin *plugin, const backworks_request *request, char *scratch,
                       backworks_response *response) {
  text data = {request->data, request->data_size}, json = trimmed(data), value;
  text path = {request->endpoint, request->endpoint_size}, query = {NULL, 0}, station = {NULL, 0};
  bool has_json = take(&(text){json.at, json.size}, "{"), mine = false;

  /* Over HTTP the host sends the request as JSON, so the plugin can be mounted at any path. */
  if (has_json) {
    json_found params = json_member(json, "path_params", &value);
    if (params == JSON_BROKEN) {
      return backworks_fail(response, BACKWORKS_INVALID_ARGUMENT,
                            "the data begins like the JSON of a request, but is not JSON");
    }
    mine = params == JSON_FOUND;
    if (look_up(json, "path_params", "station", scratch, &value) == JSON_FOUND) station = value;
  }
  /* A direct caller can put the station and the limit into the endpoint instead. */
  const char *mark = memchr(path.at, '?', path.size);
  if (mark != NULL) {
    query = (text){mark + 1, path.size - (size_t)(mark + 1 - path.at)};
    path.size = (size_t)(mark - path.at);
  }
  if (take(&path, PREFIX)) {
    bool slash = take(&path, "/"), segment = slash && path.size > 0 && memchr(path.at, '/', path.size) == NULL;
    mine = mine || path.size == 0 || segment;
    if (segment && station.at == NULL && path.at[0] != '{') {
      station = (text){memcpy(scratch, path.at, path.size), path.size};
    }
  }
  if (mine && backworks_equal(request->method, request->method_size, "GET")) {
    return station.at != NULL ? answer_station(plugin, scratch, station.size, response)
                              : answer_list(plugin, json, query, scratch, response);
  }
  if (!mine || station.at != NULL || !backworks_equal(request->method, request->method_size, "POST")) {
    return backworks_not_mine(response);
  }
  if (has_json) {
    if (json_member(json, "body", &value) != JSON_FOUND || !json_string(value, scratch, &data.size)) {
      return backworks_fail(response, BACKWORKS_INVALID_ARGUMENT, "the body is no text; send one report as text/plain");
    }
    data.at = scratch;
  }
  return answer_decoded(plugin, data, response);
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  size_t valid = utf8_valid_up_to((text){request->data, request->data_size});
  if (valid < request->data_size) {
    return backworks_fail(response, BACKWORKS_INVALID_ARGUMENT, "the data is not UTF-8: byte 0x%02x at position %zu",
                          (unsigned)(unsigned char)request->data[valid], valid);
  }
  char *scratch = malloc(request->data_size + request->endpoint_size + 1);
  int32_t code = scratch == NULL ? BACKWORKS_RESOURCE_EXHAUSTED : process(plugin, request, scratch, response);
  free(scratch);
  return code;
}
