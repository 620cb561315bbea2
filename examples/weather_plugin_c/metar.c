#include "metar.h"

#include <stdint.h>
#include <stdio.h>

/* Functions that parse a group. Like take(), each advances past what it has parsed, or leaves the group unchanged. */

static const char *take_one(text *g, const char *const *words) {
  while (*words != NULL && !take(g, *words)) words++;
  return *words;
}

/* Takes as many digits as there are up to max; returns their value, or NONE if they are fewer than min. */
static int digits(text *g, size_t min, size_t max) {
  int value = 0;
  size_t n = 0;
  while (n < max && n < g->size && g->at[n] >= '0' && g->at[n] <= '9') value = value * 10 + (g->at[n++] - '0');
  if (n < min) return NONE;
  g->at += n;
  g->size -= n;
  return value;
}

/* Takes digits, or the slashes that replace a missing value. */
static bool digits_or(text *g, size_t min, size_t max, const char *slashes, int *value) {
  *value = digits(g, min, max);
  return *value != NONE || take(g, slashes);
}

/* Takes "07", "M07", or "//" and "XX" for a missing value; the value is in tenths. */
static bool degrees(text *g, int *tenths) {
  int sign = take(g, "M") ? -10 : 10;
  if (!digits_or(g, 2, 2, "//", tenths)) return sign > 0 && take(g, "XX");
  *tenths = *tenths == NONE ? NONE : *tenths * sign;
  return true;
}

/* Whether the whole group matches a pattern: '9' is a digit, '0' a digit or a slash in its place, '?' makes the
 * preceding character optional; all others match themselves. */
static bool like(text g, const char *shape) {
  for (; *shape != 0; shape += shape[1] == '?' ? 2 : 1) {
    char c = g.size > 0 ? g.at[0] : 0;
    bool digit = c >= '0' && c <= '9';
    if (*shape == '9' ? digit : *shape == '0' ? digit || c == '/' : c == *shape) {
      g.at++;
      g.size--;
    } else if (shape[1] != '?') {
      return false;
    }
  }
  return g.size == 0;
}

static bool add_layer(report *r, const char *cover, int base) {
  if (r->sky_count == METAR_LAYERS) return false;
  r->sky[r->sky_count].cover = cover;
  r->sky[r->sky_count++].base = base;
  return true;
}

/* The groups of the body. Each function returns whether the group is of its kind and its values are usable. */

/* Groups that are not part of the response: corrections, missing values, varying wind, wind shear, runways, the sea,
 * military colour states, and the maintenance indicator. */
static bool ignored(report *r, text g) {
  static const char *const shapes[] = {
      "AUTO", "COR", "CCA", "CCB", "CCC", "CCD", "AMD", "RTD", "NIL", "NSW", "$", "///?/?/?/?/?/?/?", "KT", "999V999",
      "WS", "ALL", "TKOF", "LDG", "RWYS?", "RW?Y?99L?C?R?", "R99L?L?C?R?R?/P?M?0000F?T?/?U?D?N?",
      "R99L?L?C?R?R?/P?M?9999VP?M?9999F?T?/?U?D?N?", "R99L?L?C?R?R?/000000", "R99L?L?C?R?R?/CLRD00",
      "R99L?L?C?R?R?/SNOCLO", "99000000", "99CLRD00", "R?/?SNOCLO", "WM?00/S0", "WM?00/H00?0?", "BLU+?", "WHT",
      "GRN", "YLO1?2?", "AMB", "RED", "BLACK", "BLACKBLU+?", "BLACKWHT", "BLACKGRN", "RE//", "///CB", "///TCU",
      "////SM", "////NDV"};
  size_t i = 0;
  while (i < sizeof shapes / sizeof *shapes && !like(g, shapes[i])) i++;
  r->automatic = r->automatic || i == 0; /* except this one: "AUTO" */
  return i < sizeof shapes / sizeof *shapes;
}

/* "24015G25KT", "VRB02MPS", "240P99KT", "/////KT". */
static bool wind(report *r, text g) {
  int direction, speed, gust = NONE, millionths;
  if (r->speed != NONE || (!digits_or(&g, 3, 3, "///", &direction) && !take(&g, "VRB")) || direction > 360) {
    return false;
  }
  take(&g, "P");
  if (!digits_or(&g, 2, 3, "//", &speed)) return false;
  if (take(&g, "G")) {
    take(&g, "P");
    if (!digits_or(&g, 2, 3, "//", &gust)) return false;
  }
  millionths = take(&g, "KT") ? 1000000 : take(&g, "MPS") ? 1943844 : take(&g, "KMH") ? 539957 : 0;
  if (millionths == 0 || g.size > 0) return false;
  r->direction = direction;
  r->speed = speed == NONE ? NONE : (int)(((int64_t)speed * millionths + 500000) / 1000000);
  r->gust = gust == NONE ? NONE : (int)(((int64_t)gust * millionths + 500000) / 1000000);
  return true;
}

/* Hundredths of a statute mile, of 1609.344 m. */
static int from_metres(int metres) { return (int)(((int64_t)metres * 100000 + 804672) / 1609344); }

/* "9999" (10 km or more), "3000SW", "0800NDV"; "CAVOK". */
static bool visibility(report *r, text g) {
  static const char *const directions[] = {"NDV", "NE", "NW", "N", "SE", "SW", "S", "E", "W", NULL};
  bool known = r->visibility != NONE;
  if (equal(g, "CAVOK")) {
    r->visibility = from_metres(10000);
    return !known && add_layer(r, "CAVOK", NONE);
  }
  int metres = digits(&g, 4, 4);
  bool directed = take_one(&g, directions) != NULL;
  if (metres == NONE || g.size > 0 || (known && !directed)) return false;
  /* The first group is the prevailing visibility; others are for single directions. */
  if (!known) r->visibility = from_metres(metres == 9999 ? 10000 : metres);
  return true;
}

/* "10SM", "P6SM", "M1/4SM", "1 1/2SM"; "10KM". */
static bool visibility_in_miles(report *r, text g) {
  int whole, over = 0, under = 1;
  if (!take(&g, "P")) take(&g, "M");
  whole = digits(&g, 1, 2);
  if (take(&g, "/")) {
    over = whole;
    whole = 0;
    under = digits(&g, 1, 2);
  } else if (g.size > 0 && is_space(g.at[0])) {
    g = trimmed(g);
    over = digits(&g, 1, 2);
    under = take(&g, "/") ? digits(&g, 1, 2) : NONE;
  }
  bool kilometres = under == 1 && take(&g, "KM");
  if ((!kilometres && !take(&g, "SM")) || g.size > 0 || r->visibility != NONE) return false;
  if (whole == NONE || over == NONE || over >= under) return false;
  r->visibility = kilometres ? from_metres(whole * 1000) : whole * 100 + (over * 200 + under) / (2 * under);
  return true;
}

/* "-RA", "+TSRAGR", "VCSH", "FZFG"; "RERA" is recent weather, which has ended. */
static bool weather(report *r, text g) {
  static const char *const descriptors[] = {"MI", "PR", "BC", "DR", "BL", "SH", "TS", "FZ", NULL};
  static const char *const phenomena[] = {"DZ", "RA", "SN", "SG", "IC", "PL", "GR", "GS", "UP", "BR", "FG", "FU",
                                          "VA", "DU", "SA", "HZ", "PY", "PO", "SQ", "FC", "SS", "DS", NULL};
  text all = g;
  bool recent = take(&g, "RE");
  if (!take(&g, "-") && !take(&g, "+")) take(&g, "VC");
  const char *last = NULL, *next;
  while ((next = take_one(&g, descriptors)) != NULL) last = next;
  bool enough = last != NULL && (strcmp(last, "TS") == 0 || strcmp(last, "SH") == 0);
  while (take_one(&g, phenomena) != NULL) enough = true;
  if (!enough || g.size > 0 || r->weather_count == METAR_WEATHER) return false;
  if (!recent) r->weather[r->weather_count++] = all;
  return true;
}

/* "FEW008", "BKN020CB", "OVC010///", "///015", "VV002", "VV///", and the codes for a sky without clouds. */
static bool sky(report *r, text g) {
  static const char *const clear[] = {"CLR", "SKC", "NSC", "NCD", NULL};
  static const char *const covers[] = {"FEW", "SCT", "BKN", "OVC", "VV", "///", NULL};
  static const char *const kinds[] = {"CB", "TCU", "///", NULL};
  int hundreds;
  const char *cover = take_one(&g, clear);
  if (cover != NULL) return g.size == 0 && add_layer(r, cover, NONE);
  cover = take_one(&g, covers);
  if (cover == NULL || !digits_or(&g, 3, 3, "///", &hundreds)) return false;
  take_one(&g, kinds);
  if (g.size > 0) return false;
  int feet = hundreds == NONE ? NONE : hundreds * 100;
  if (strcmp(cover, "VV") == 0) { /* an obscured sky: the number is the vertical visibility */
    r->vertical_visibility = feet;
    return add_layer(r, "OVX", 0);
  }
  return add_layer(r, strcmp(cover, "///") == 0 ? NULL : cover, feet);
}

/* "05/M06", "05/", "///05". */
static bool temperature(report *r, text g) {
  int air = NONE, dew = NONE;
  if (r->temperature != NONE || !degrees(&g, &air) || !take(&g, "/") ||
      (g.size > 0 && (!degrees(&g, &dew) || g.size > 0))) {
    return false;
  }
  r->temperature = air;
  r->dewpoint = dew;
  return true;
}

/* "A2992" in hundredths of an inch, "Q1013" in hectopascals. If both are given, the inches are more precise. */
static bool pressure(report *r, text g) {
  int value;
  bool inches = take(&g, "A");
  if ((!inches && !take(&g, "Q")) || !digits_or(&g, 4, 4, "////", &value) || g.size > 0) return false;
  if (value != NONE && (inches || r->altimeter == NONE)) {
    r->altimeter = inches ? value : (int)(((int64_t)value * 29529983 + 5000000) / 10000000);
  }
  return true;
}

/* These start a forecast, which ends at the remarks. */
static bool begins_trend(text g) {
  static const char *const shapes[] = {"NOSIG", "TEMPO", "BECMG", "INTER", "PROB90", "FM999999?9?", NULL};
  size_t i = 0;
  while (shapes[i] != NULL && !like(g, shapes[i])) i++;
  return shapes[i] != NULL;
}

/* "T10111028": tenths for the temperatures; "SLP134": 1013.4 hPa, because the value nearer to 1000 is meant. */
static void remark(report *r, text g) {
  int sign, tenths;
  if ((like(g, "T9999") || like(g, "T99999999")) && g.at[1] <= '1' && (g.size == 5 || g.at[5] <= '1')) {
    take(&g, "T");
    sign = digits(&g, 1, 1), tenths = digits(&g, 3, 3);
    r->temperature = sign == 1 ? -tenths : tenths;
    sign = digits(&g, 1, 1), tenths = digits(&g, 3, 3);
    if (tenths != NONE) r->dewpoint = sign == 1 ? -tenths : tenths;
  } else if (like(g, "SLP999")) {
    take(&g, "SLP");
    tenths = digits(&g, 3, 3);
    r->sea_level_pressure = tenths + (tenths < 500 ? 10000 : 9000);
  }
}

/* Reads the report group by group; `group` is empty at the end. */
typedef struct reader {
  text group, rest;
  int number;
} reader;

static bool advance(reader *in) {
  in->rest = trimmed(in->rest);
  in->group = (text){in->rest.at, 0};
  while (in->group.size < in->rest.size && !is_space(in->rest.at[in->group.size])) in->group.size++;
  in->rest.at += in->group.size;
  in->rest.size -= in->group.size;
  in->number++;
  return in->group.size > 0;
}

static bool station(report *r, text g) {
  for (size_t i = 0; i < g.size; i++) {
    if (!((g.at[i] >= 'A' && g.at[i] <= 'Z') || (i > 0 && g.at[i] >= '0' && g.at[i] <= '9'))) return false;
  }
  r->station = g;
  return g.size == 4;
}

static bool observed(report *r, text g) {
  bool shaped = like(g, "999999Z");
  r->day = digits(&g, 2, 2);
  r->hour = digits(&g, 2, 2);
  r->minute = digits(&g, 2, 2);
  return shaped && r->day >= 1 && r->day <= 31 && r->hour < 24 && r->minute < 60;
}

/* Both return NULL, or the fault of the group at which they stopped. */
static const char *read_header(report *r, reader *in) {
  advance(in);
  if (equal(in->group, "METAR") || equal(in->group, "SPECI")) {
    r->type = equal(in->group, "METAR") ? "METAR" : "SPECI";
    advance(in);
  }
  if (equal(in->group, "COR")) advance(in);
  if (!station(r, in->group)) return "no station (four letters or digits, the first a letter)";
  advance(in);
  return observed(r, in->group) ? NULL : "no time of observation (ddhhmmZ)";
}

static const char *read_body(report *r, reader *in) {
  static bool (*const kinds[])(report *, text) = {ignored, wind, visibility,  visibility_in_miles,
                                                  weather, sky,  temperature, pressure};
  bool in_trend = false, in_remarks = false;
  while (advance(in)) {
    text g = in->group;
    if (in_remarks) {
      remark(r, g);
      continue;
    }
    in_remarks = equal(g, "RMK");
    in_trend = in_trend || begins_trend(g);
    if (in_remarks || in_trend) continue;
    reader next = *in;
    advance(&next);
    if (like(g, "99?") && like(next.group, "99?/99?SM")) { /* "1 1/2SM" is one group in two words */
      g.size = (size_t)(next.group.at - g.at) + next.group.size;
      *in = (reader){g, next.rest, in->number};
    }
    size_t kind = 0;
    while (!kinds[kind](r, in->group)) {
      if (++kind == sizeof kinds / sizeof *kinds) return "not understood";
    }
  }
  return NULL;
}

bool metar_decode(text raw, report *r, char message[METAR_MESSAGE_MAX]) {
  reader in = {{raw.at, 0}, trimmed(raw), 0};
  char quote[QUOTED_MAX];
  *r = (report){.raw = in.rest, .direction = NONE, .speed = NONE, .gust = NONE, .visibility = NONE,
                .vertical_visibility = NONE, .temperature = NONE, .dewpoint = NONE, .altimeter = NONE,
                .sea_level_pressure = NONE};
  if (r->raw.size > METAR_MAX) {
    snprintf(message, METAR_MESSAGE_MAX, "the report has %zu bytes; at most %d are taken", r->raw.size, METAR_MAX);
    return false;
  }
  for (size_t i = 0; i < raw.size; i++) {
    if (!is_space(raw.at[i]) && (raw.at[i] < ' ' || raw.at[i] > '~')) {
      snprintf(message, METAR_MESSAGE_MAX, "byte 0x%02x at column %zu is not printable ASCII, as a report is",
               (unsigned)(unsigned char)raw.at[i], i + 1);
      return false;
    }
  }
  if (in.rest.size > 0 && in.rest.at[in.rest.size - 1] == '=') {
    in.rest.size--; /* the end of a report in a bulletin */
  }
  const char *wrong = read_header(r, &in);
  if (wrong == NULL) wrong = read_body(r, &in);
  if (wrong != NULL && in.group.size == 0) {
    snprintf(message, METAR_MESSAGE_MAX, "the report ends before group %d: there is %s", in.number, wrong);
  } else if (wrong != NULL) {
    snprintf(message, METAR_MESSAGE_MAX, "group %d '%s' at column %zu is %s", in.number, quoted(in.group, quote),
             (size_t)(in.group.at - raw.at) + 1, wrong);
  }
  return wrong == NULL;
}

/* The response. Integers scaled by a power of ten keep the numbers exact: "7", "0.25", "-0.5". */

typedef struct writer {
  char *at;
  size_t size;
} writer;

#define PUT(out, ...) \
  ((out)->size += (size_t)snprintf((out)->at + (out)->size, METAR_JSON_MAX - (out)->size, __VA_ARGS__))

static void put_number(writer *out, const char *before, int value, int scale) {
  if (value == NONE) {
    PUT(out, "%snull", before);
    return;
  }
  int size = value < 0 ? -value : value, part = size % scale;
  PUT(out, "%s%s%d", before, value < 0 ? "-" : "", size / scale);
  if (part * 10 % scale == 0 && part != 0) {
    PUT(out, ".%d", part * 10 / scale);
  } else if (part != 0) {
    PUT(out, ".%02d", part);
  }
}

static void put_word(writer *out, const char *before, const char *word) {
  const char *quote = word == NULL ? "" : "\"";
  PUT(out, "%s%s%s%s", before, quote, word == NULL ? "null" : word, quote);
}

static void put_raw(writer *out, text raw) {
  for (size_t i = 0; i < raw.size; i++) {
    char c = raw.at[i];
    const char *escaped = c == '"' ? "\\\"" : c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    PUT(out, "%.*s", c == '"' || c == '\\' || c < ' ' ? 2 : 1, c == '"' || c == '\\' || c < ' ' ? escaped : &c);
  }
}

/* The categories of the US National Weather Service; NULL if visibility or ceiling is unknown. */
static const char *flight_category(const report *r) {
  int ceiling = INT_MAX;
  for (size_t i = 0; i < r->sky_count; i++) {
    const char *cover = r->sky[i].cover;
    if (cover == NULL) return NULL;
    if (strcmp(cover, "BKN") == 0 || strcmp(cover, "OVC") == 0 || strcmp(cover, "OVX") == 0) {
      int base = strcmp(cover, "OVX") == 0 ? r->vertical_visibility : r->sky[i].base;
      ceiling = base < ceiling ? base : ceiling;
    }
  }
  if (r->visibility == NONE || ceiling == NONE || r->sky_count == 0) return NULL;
  return ceiling < 500 || r->visibility < 100     ? "LIFR"
         : ceiling < 1000 || r->visibility < 300  ? "IFR"
         : ceiling <= 3000 || r->visibility <= 500 ? "MVFR"
                                                  : "VFR";
}

size_t metar_json(const report *r, char json[METAR_JSON_MAX]) {
  writer out = {json, 0};
  PUT(&out, "{\"station\":\"%.*s\"", (int)r->station.size, r->station.at);
  PUT(&out, ",\"observed\":{\"day\":%d,\"hour\":%d,\"minute\":%d}", r->day, r->hour, r->minute);
  put_word(&out, ",\"type\":", r->type);
  PUT(&out, ",\"auto\":%s,\"wind\":", r->automatic ? "true" : "false");
  if (r->direction == NONE && r->speed == NONE) {
    PUT(&out, "null");
  } else {
    put_number(&out, "{\"direction_deg\":", r->direction, 1);
    put_number(&out, ",\"speed_kt\":", r->speed, 1);
    put_number(&out, ",\"gust_kt\":", r->gust, 1);
    PUT(&out, "}");
  }
  put_number(&out, ",\"visibility_mi\":", r->visibility, 100);
  PUT(&out, ",\"weather\":%s", r->weather_count == 0 ? "null" : "\"");
  for (size_t i = 0; i < r->weather_count; i++) {
    PUT(&out, "%.*s%s", (int)r->weather[i].size, r->weather[i].at, i + 1 < r->weather_count ? " " : "\"");
  }
  PUT(&out, ",\"sky\":%s", r->sky_count == 0 ? "null" : "[");
  for (size_t i = 0; i < r->sky_count; i++) {
    put_word(&out, i == 0 ? "{\"cover\":" : ",{\"cover\":", r->sky[i].cover);
    put_number(&out, ",\"base_ft\":", r->sky[i].base, 1);
    PUT(&out, i + 1 < r->sky_count ? "}" : "}]");
  }
  put_number(&out, ",\"vertical_visibility_ft\":", r->vertical_visibility, 1);
  put_number(&out, ",\"temperature_c\":", r->temperature, 10);
  put_number(&out, ",\"dewpoint_c\":", r->dewpoint, 10);
  put_number(&out, ",\"altimeter_inhg\":", r->altimeter, 100);
  put_number(&out, ",\"sea_level_pressure_hpa\":", r->sea_level_pressure, 10);
  put_word(&out, ",\"flight_category\":", flight_category(r));
  PUT(&out, ",\"raw\":\"");
  put_raw(&out, r->raw);
  PUT(&out, "\"}");
  return out.size;
}
