#include "metar.h"

#include <stdint.h>
#include <stdio.h>

/* Functions that parse a group. Like take(), each advances past what it has parsed, or leaves the group unchanged. */

static const char *const compass[] = {"NNE", "NNW", "NE",  "NW",  "N", "ENE",   "ESE", "E",   "SSE", "SSW",
                                      "SE",  "SW",  "S",   "WNW", "WSW", "W", "ALQDS", "ALL", "OHD", NULL};

static const char *take_one(text *g, const char *const *words) {
  while (*words != NULL && !take(g, *words)) words++;
  return *words;
}

/* Takes as many digits as there are up to max, and the letter O for a zero; returns their value, or NONE if they are
 * fewer than min. */
static int digits(text *g, size_t min, size_t max) {
  int value = 0;
  size_t n = 0;
  for (; n < max && n < g->size; n++) {
    char c = g->at[n] == 'O' ? '0' : g->at[n];
    if (c < '0' || c > '9') break;
    value = value * 10 + (c - '0');
  }
  if (n < min) return NONE;
  skip(g, n);
  return value;
}

/* Takes digits, or the slashes that replace a missing value. */
static bool digits_or(text *g, size_t min, size_t max, const char *slashes, int *value) {
  *value = digits(g, min, max);
  return *value != NONE || take(g, slashes);
}

/* Takes "07", "M07", or "//", "XX", "MM" and "M" for a missing value; the value is in tenths. */
static bool degrees(text *g, int *tenths) {
  static const char *const missing[] = {"//", "XX", "MM", NULL};
  *tenths = NONE;
  if (take_one(g, missing) != NULL) return true;
  bool below_zero = take(g, "M") || take(g, "-");
  int whole = digits(g, 1, 2);
  if (whole == NONE) return below_zero && (g->size == 0 || g->at[0] == '/');
  *tenths = below_zero ? -10 * whole : 10 * whole;
  return true;
}

/* Takes directions with separators: "NE", "N/NE", "S, SW-W", "E,". */
static bool directions(text *g) {
  text rest = *g, before;
  if (take_one(&rest, compass) == NULL) return false;
  do {
    before = rest;
    take(&rest, ",");
    *g = rest;
    while (rest.size > 0 && (is_space(rest.at[0]) || strchr("/-", rest.at[0]) != NULL)) skip(&rest, 1);
  } while (rest.size < before.size && take_one(&rest, compass) != NULL);
  return true;
}

/* Takes what one character of a shape stands for. */
static bool take_shape(text *g, char shape) {
  if (shape == '@') return directions(g);
  if (g->size == 0) return false;
  char c = g->at[0];
  bool digit = c >= '0' && c <= '9';
  bool fits = shape == '9' ? digit : shape == '0' ? digit || c == '/' : shape == ' ' ? is_space(c) : c == shape;
  if (fits) skip(g, 1);
  if (fits && shape == ' ') skip_space(g);
  return fits;
}

/* Whether the whole group matches a pattern: '9' is a digit, '0' a digit or a slash in its place, '@' one or more
 * directions, ' ' any white space, '*' everything until the end, and '?' makes the preceding character optional; all
 * others match themselves. */
static bool like(text g, const char *shape) {
  for (; *shape != 0; shape += shape[1] == '?' ? 2 : 1) {
    if (*shape == '*') return true;
    if (!take_shape(&g, *shape) && shape[1] != '?') return false;
  }
  return g.size == 0;
}

/* Whether the whole group matches one of the patterns, which end with NULL. */
static bool like_one(text g, const char *const *shapes) {
  while (*shapes != NULL && !like(g, *shapes)) shapes++;
  return *shapes != NULL;
}

static bool add_group(groups *list, text g) {
  if (list->count == METAR_GROUPS) return false;
  list->at[list->count++] = g;
  return true;
}

static bool add_layer(report *r, const char *cover, int base, const char *type) {
  if (r->sky_count == METAR_LAYERS) return false;
  r->sky[r->sky_count++] = (layer){cover, base, type};
  return true;
}

/* The groups of the body. Each function returns whether the group is of its kind and its values are usable. */

/* Groups that are not part of the response: corrections, missing values, varying wind, wind shear, the sea, the
 * height below which the sky is clear, a repeated visibility, and the maintenance indicator. */
static bool ignored(report *r, text g) {
  static const char *const shapes[] = {
      "COR", "CCA", "CCB", "CCC", "CCD", "CCE", "CCF", "AMD", "RTD", "NIL", "NSW", "$", "M", "/",
      "///?/?/?/?/?/?/?", "KT", "000V000", "WS", "ALL", "TKOF", "LDG", "RWYS?", "RW?Y? ?99L?C?R?", "WM?00/S0",
      "WM?00/H00?0?", "RE//", "///CB", "///TCU", "////SM", "////NDV", "BLW ?9999?9?", "BLO ?9999?9?",
      "BELOW ?9999?9?", "99? KM ALL FU", "99? KM ALL HZ", "99? KM ALL BR", "NO SIG", "SLPNO", "RVRNO", "PWINO",
      "TSNO", "FZRANO", NULL};
  r->automatic = r->automatic || equal(g, "AUTO");
  return equal(g, "AUTO") || like_one(g, shapes);
}

/* "R23/0350N", "R11/1000VP6000FT/D", "R16/////"; "R///////" if no runway has a value. */
static bool runway_visual_range(report *r, text g) {
  static const char *const shapes[] = {"R99L?L?C?R?R?/P?M?0000F?T?/?U?D?N?",
                                       "R99L?L?C?R?R?/P?M?9999F?T?VP?M?9999F?T?/?U?D?N?", NULL};
  static const char *const missing[] = {"R////?/?/?/?/?", NULL};
  return like_one(g, missing) || (like_one(g, shapes) && add_group(&r->runway_visual_range, g));
}

/* "R24L/290050", "R09/70D", "R28/D", "R23/CLRD60", "88CLRD70", "R/SNOCLO". */
static bool runway_state(report *r, text g) {
  static const char *const shapes[] = {"R99L?L?C?R?R?/000000",  "R99L?L?C?R?R?/0?0?0?0?0?0?D",
                                       "R99L?L?C?R?R?/CLRD0?0?", "R99L?L?C?R?R?//99",
                                       "R99L?L?C?R?R?/GLRD00",  "R99L?L?C?R?R?/SNOCLO",
                                       "99000000", "99CLRD00",  "R?/?SNOCLO", NULL};
  return like_one(g, shapes) && add_group(&r->runway_state, g);
}

/* The colour states of military airfields, now and later: "BLU", "BLU+BLU+", "BLACKGRN", "WHT/GRN". */
static bool colour_state(report *r, text g) {
  static const char *const colours[] = {"BLU+", "BLU", "WHT", "GRN", "YLO1", "YLO2", "YLO", "AMB", "RED", NULL};
  text all = g;
  bool any = take(&g, "BLACK");
  while (take_one(&g, colours) != NULL) {
    any = true;
    if (g.size > 1) take(&g, "/");
  }
  return any && g.size == 0 && add_group(&r->colour_state, all);
}

/* "CB/NE/N", "TCU S", "CB TO SW": where the clouds are that bring showers and thunderstorms. */
static bool convection(report *r, text g) {
  static const char *const shapes[] = {"CB",    "CB/@",  "CB @",     "CB TO @",  "TCU",
                                       "TCU/@", "TCU @", "TCU TO @", NULL};
  static const char *const types[] = {"CB", "TCU", NULL};
  static const char *const links[] = {"/", " ", "\t", "\r", "\n", "TO", NULL};
  if (!like_one(g, shapes) || r->convection_count == METAR_LAYERS) return false;
  const char *type = take_one(&g, types);
  while (take_one(&g, links) != NULL) continue;
  r->convection[r->convection_count++] = (cloud){type, g};
  return true;
}

/* Takes "00.2", "012.4", or slashes for a missing value; the value is in tenths. */
static bool millimetres(text *g, size_t size, const char *missing, int *tenths) {
  *tenths = NONE;
  if (take(g, missing)) return true;
  int whole = digits(g, 1, size);
  if (whole == NONE || (!take(g, ".") && !take(g, "/"))) return false;
  int part = digits(g, 1, 1);
  *tenths = part == NONE ? NONE : whole * 10 + part;
  return part != NONE;
}

/* "RF00.2/012.4": the rain of the last 10 minutes, and since 9 o'clock. */
static bool rainfall(report *r, text g) {
  int recent, day;
  if (!take(&g, "RF") || !millimetres(&g, 2, "//./", &recent) || !take(&g, "/") ||
      !millimetres(&g, 3, "///./", &day) || g.size > 0) {
    return false;
  }
  r->rain_10_minutes = recent;
  r->rain_since_9 = day;
  return true;
}

/* Takes a unit of speed; returns how many millionths of a knot it is, or 0. */
static int speed_unit(text *g) {
  skip_space(g);
  if (take(g, "KTS") || take(g, "KT")) return 1000000;
  return take(g, "MPS") ? 1943844 : take(g, "KMH") ? 539957 : 0;
}

/* Whether the unit of a whole wind is omitted: stations that do so mean knots, but for those in the parts of the world
 * that use metres per second. */
static bool without_unit(const report *r, text g) {
  static const char *const shapes[] = {"99999", "99999G99", "VRB99", "VRB99G99", NULL};
  return strchr("UZ", r->station.at[0]) == NULL && like_one(g, shapes);
}

/* "24015G25KT", "VRB02MPS", "240P99KT", "/////KT"; "E26008KT" is estimated, "CALM" no wind. */
static bool wind(report *r, text g) {
  int direction = 0, speed = 0, gust = NONE, millionths = 1000000;
  bool knots = without_unit(r, g), estimated = take(&g, "E");
  if (take(&g, "CALM")) {
    take(&g, "KT");
  } else {
    if ((!digits_or(&g, 3, 3, "///", &direction) && !take(&g, "VRB")) || direction > 360) return false;
    skip_space(&g);
    take(&g, "P");
    if (!digits_or(&g, 2, 3, "//", &speed)) return false;
    if (take(&g, "G")) {
      take(&g, "P");
      if (!digits_or(&g, 2, 3, "//", &gust)) return false;
    }
    millionths = knots ? 1000000 : speed_unit(&g);
  }
  if (millionths == 0 || g.size > 0 || r->speed != NONE) return false;
  r->estimated = estimated;
  r->direction = direction;
  r->speed = speed == NONE ? NONE : (int)(((int64_t)speed * millionths + 500000) / 1000000);
  r->gust = gust == NONE ? NONE : (int)(((int64_t)gust * millionths + 500000) / 1000000);
  return true;
}

/* Hundredths of a statute mile, of 1609.344 m. */
static int from_metres(int metres) { return (int)(((int64_t)metres * 100000 + 804672) / 1609344); }

/* Stores the prevailing visibility, which comes first, or the lower one that follows it. */
static bool add_visibility(report *r, int visibility, const char *direction) {
  if (r->visibility == NONE) {
    r->visibility = visibility;
  } else if (visibility > r->visibility) {
    return direction != NULL;
  } else if (visibility < r->visibility && (r->minimum == NONE || visibility < r->minimum)) {
    r->minimum = visibility;
    r->minimum_direction = direction;
  }
  return true;
}

/* "9999" (10 km or more), "3000SW", "0800NDV", "0600//"; "CAVOK". */
static bool visibility(report *r, text g) {
  static const char *const unknown[] = {"NDV", "//", "M", NULL};
  const char *direction = NULL;
  if (equal(g, "CAVOK")) {
    if (r->visibility == NONE) r->visibility = from_metres(10000);
    return r->visibility >= from_metres(10000) && add_layer(r, "CAVOK", NONE, NULL);
  }
  if (equal(g, "99999")) skip(&g, 1);
  int metres = digits(&g, 4, 4);
  if (take_one(&g, unknown) == NULL) direction = take_one(&g, compass);
  return metres != NONE && g.size == 0 && add_visibility(r, from_metres(metres == 9999 ? 10000 : metres), direction);
}

/* "10SM", "P6SM", "M1/4SM", "1 1/2 SM", "8M"; "10KM". */
static bool visibility_in_miles(report *r, text g) {
  int whole, over = 0, under = 1;
  if (!take(&g, "P")) take(&g, "M");
  whole = digits(&g, 1, 2);
  skip_space(&g);
  if (take(&g, "/")) {
    over = whole;
    whole = 0;
    under = digits(&g, 1, 2);
  } else if (g.size > 0 && g.at[0] >= '0' && g.at[0] <= '9') {
    over = digits(&g, 1, 2);
    under = take(&g, "/") ? digits(&g, 1, 2) : NONE;
  }
  skip_space(&g);
  bool kilometres = under == 1 && take(&g, "KM");
  if ((!kilometres && !take(&g, "SM") && !take(&g, "MI") && !take(&g, "M")) || g.size > 0) return false;
  if (whole == NONE || over == NONE || over >= under) return false;
  int found = kilometres ? from_metres(whole * 1000) : whole * 100 + (over * 200 + under) / (2 * under);
  if (r->visibility == NONE) r->visibility = found;
  return found == r->visibility || (found >= from_metres(10000) && r->visibility == from_metres(10000));
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
  return enough && g.size == 0 && (recent || add_group(&r->weather, all));
}

/* Takes one layer, and a separator from the next one. */
static bool take_layer(report *r, text *g) {
  static const char *const clear[] = {"CLR", "SKC", "NSC", "NCD", NULL};
  static const char *const covers[] = {"FEW", "SCT", "BKN", "OVC", "VV", "///", NULL};
  static const char *const types[] = {"CB", "TCU", "///", NULL};
  int hundreds;
  const char *cover = take_one(g, clear);
  if (cover != NULL) return add_layer(r, cover, NONE, NULL);
  cover = take_one(g, covers);
  skip_space(g);
  if (cover == NULL || !digits_or(g, 3, 3, "///", &hundreds)) return false;
  const char *type = take_one(g, types);
  if (type == types[2]) type = NULL;
  if (g->size > 1) take(g, "/");
  int feet = hundreds == NONE ? NONE : hundreds * 100;
  if (strcmp(cover, "VV") == 0) { /* an obscured sky: the number is the vertical visibility */
    r->vertical_visibility = feet;
    return add_layer(r, "OVX", 0, type);
  }
  return add_layer(r, strcmp(cover, "///") == 0 ? NULL : cover, feet, type);
}

/* "FEW008", "BKN020CB", "OVC010///", "///015", "VV002", "VV///", the codes for a sky without clouds, and several
 * layers without spaces. */
static bool sky(report *r, text g) {
  size_t count = r->sky_count;
  int vertical_visibility = r->vertical_visibility;
  if (g.size > 1 && g.at[1] != '/') take(&g, "/");
  do {
    if (!take_layer(r, &g)) {
      r->sky_count = count;
      r->vertical_visibility = vertical_visibility;
      return false;
    }
  } while (g.size > 0);
  return true;
}

/* Takes a slash, which may have spaces around it. */
static bool take_slash(text *g) {
  skip_space(g);
  bool slash = take(g, "/");
  skip_space(g);
  return slash;
}

/* "05/M06", "05/", "12//", "///05", "9/M1"; but not "1/2", which may be a fraction of a mile. */
static bool temperature(report *r, text g) {
  int air = NONE, dew = NONE;
  if (r->temperature != NONE || like(g, "9/9") || !degrees(&g, &air) || !take_slash(&g) ||
      (g.size > 0 && !equal(g, "/") && (!degrees(&g, &dew) || g.size > 0))) {
    return false;
  }
  r->temperature = air;
  r->dewpoint = dew;
  return true;
}

/* Takes "A2992", "29.92" and, after hectopascals, "2992"; the value is in hundredths of an inch. */
static bool inches(text *g, bool after, int *value) {
  text start = *g;
  bool marked = take(g, "A");
  skip_space(g);
  if (!digits_or(g, 4, 4, "////", value)) {
    int whole = digits(g, 2, 2), part = take(g, ".") ? digits(g, 2, 2) : NONE;
    marked = marked || after;
    *value = whole == NONE || part == NONE ? INT_MAX : whole * 100 + part;
  }
  if ((marked || after) && (*value == NONE || (*value >= 2300 && *value < 3300))) return true;
  *g = start;
  *value = NONE;
  return false;
}

/* Takes "Q1013", "Q998" and "Q1012.3"; the value is in tenths of a hectopascal. */
static bool hectopascals(text *g, int *value) {
  text start = *g;
  if (take(g, "Q")) {
    take(g, "NH");
    skip_space(g);
    if (take(g, "////")) return *value = NONE, true;
    int whole = digits(g, 3, 4), part = take(g, ".") ? digits(g, 1, 1) : 0;
    *value = whole == NONE || part == NONE ? NONE : whole * 10 + part;
    if (*value >= 8000 && *value < 11000) return true;
  }
  *g = start;
  *value = NONE;
  return false;
}

/* "A2992" in hundredths of an inch, "Q1013" in hectopascals, "Q1012.3/29.89". If both are given, the inches are more
 * precise. */
static bool pressure(report *r, text g) {
  int inch = NONE, tenths = NONE;
  bool in_inches = inches(&g, false, &inch);
  if (in_inches && g.size > 1) take(&g, "/");
  bool in_hectopascals = hectopascals(&g, &tenths);
  bool both = in_hectopascals && g.size > 1 && take(&g, "/");
  if (both) in_inches = inches(&g, true, &inch);
  if (g.size > 0 || (both ? !in_inches : !in_inches && !in_hectopascals)) return false;
  if (tenths != NONE) r->altimeter_hpa = tenths;
  if (tenths != NONE && inch == NONE && r->altimeter == NONE) {
    r->altimeter = (int)(((int64_t)tenths * 29529983 + 50000000) / 100000000);
  }
  if (inch != NONE) r->altimeter = inch;
  return true;
}

/* "QFE 987/4", "QFE 987.4" in hectopascals, "QFE 745/0993" in millimetres of mercury and hectopascals. What "QFE 745"
 * is in, is unknown. */
static bool station_pressure(report *r, text g) {
  static const char *const shapes[] = {"QFE ?9999?", "QFE ?9999?/9", "QFE ?9999?.9", "QFE ?999/9999", NULL};
  if (!like_one(g, shapes)) return false;
  take(&g, "QFE");
  skip_space(&g);
  int whole = digits(&g, 3, 4);
  if (take(&g, "/") || take(&g, ".")) {
    int hectopascals = digits(&g, 4, 4);
    r->station_pressure = hectopascals != NONE ? hectopascals * 10 : whole * 10 + digits(&g, 1, 1);
  }
  return true;
}

/* These start a forecast, which ends at the remarks. */
static const char *const trends[] = {"NOSIG*",  "TEMPO*", "BECMG*",   "INTER",
                                     "PROB90*", "FM",     "FM9999Z?", "FM999999Z?", NULL};

/* These start the remarks; a few stations omit the first one. */
static const char *const remarks[] = {"RMK*", "AO1", "AO2A?", "A01", "A02A?", "PP000", "PPTRZ", NULL};

/* Takes "0101" and "1101", +10.1 and -10.1 degrees, or slashes for a missing value. */
static bool tenths_of_degrees(text *g, int *tenths) {
  *tenths = NONE;
  if (take(g, "////")) return true;
  int sign = digits(g, 1, 1), value = digits(g, 3, 3);
  if (sign < 0 || sign > 1 || value == NONE) return false;
  *tenths = sign == 1 ? -value : value;
  return true;
}

/* Replaces a temperature by the more precise one, unless they contradict each other. */
static void refine(int *temperature, int tenths) {
  if (tenths != NONE && (*temperature == NONE || (tenths - *temperature <= 10 && *temperature - tenths <= 10))) {
    *temperature = tenths;
  }
}

/* "T10111028", "T0089////": tenths for the temperatures. */
static bool precise_temperature(report *r, text g) {
  int air, dew = NONE;
  if (!take(&g, "T") || !tenths_of_degrees(&g, &air) || (g.size > 0 && !tenths_of_degrees(&g, &dew)) || g.size > 0) {
    return false;
  }
  refine(&r->temperature, air);
  refine(&r->dewpoint, dew);
  return true;
}

/* "SLP134": 1013.4 hPa, because the value nearer to the altimeter is meant, or nearer to 1000 if that is unknown or no
 * pressure at sea level. The altimeter is another estimate of the same pressure: what is far from it is a mistake. */
static bool sea_level_pressure(report *r, text g) {
  if (!like(g, "SLP999")) return false;
  take(&g, "SLP");
  bool known = r->altimeter >= 2750 && r->altimeter < 3150;
  int near = known ? (int)((int64_t)r->altimeter * 338639 / 100000) : 10000, tenths = digits(&g, 3, 3);
  tenths += tenths + 9500 < near ? 10000 : 9000;
  if (!known || (tenths - near <= 300 && near - tenths <= 300)) r->sea_level_pressure = tenths;
  return true;
}

typedef bool (*group_parser)(report *, text);

/* The first that understands a group takes it. The last three parse remarks, too: some stations omit "RMK". */
static const group_parser parsers[] = {
    ignored,      wind,         visibility,       visibility_in_miles, weather,  sky,                 temperature,
    pressure,     convection,   runway_visual_range, runway_state,     colour_state, station_pressure,
    rainfall,     precise_temperature, sea_level_pressure};
#define PARSERS (sizeof parsers / sizeof *parsers)
#define REMARK_PARSERS 3

static bool parse(report *r, text g, size_t first) {
  while (first < PARSERS && !parsers[first](r, g)) first++;
  return first < PARSERS;
}

/* Groups that are written in several words: if a group is like the first and the next word like the second, they are
 * one group, which can be the first of another pair. */
static const char *const pairs[][2] = {
    {"P?M?99?", "99?/99?SM"}, {"P?M?9", "9/99?"}, {"P?M?99?", "SM"}, {"P?M?99?/99?", "SM"}, {"P?M?9 9/99?", "SM"},
    {"P?99?", "KM"}, {"99? KM", "ALL"}, {"99? KM ALL", "FU"}, {"99? KM ALL", "HZ"}, {"99? KM ALL", "BR"},
    {"NO", "SIG"}, {"RWY", "99L?C?R?"}, {"BLW", "9999?9?"}, {"BLO", "9999?9?"}, {"BELOW", "9999?9?"}, {"QFE", "9999?"},
    {"QFE", "9999?/9"}, {"QFE", "9999?.9"}, {"QFE", "999/9999"}, {"CB", "@"}, {"CB @", "@"}, {"CB", "TO"},
    {"CB TO", "@"}, {"CB TO @", "@"}, {"TCU", "@"}, {"TCU @", "@"}, {"TCU", "TO"}, {"TCU TO", "@"}, {"TCU TO @", "@"},
    {"99999", "KT"}, {"99999G99", "KT"}, {"VRB", "99KT"}, {"M?99", "/M?99"}, {"M?99/", "M?99"}, {"A", "9999"},
    {"Q", "9999"}, {"QNH", "9999"}, {"FEW", "999"}, {"SCT", "999"}, {"BKN", "999"}, {"OVC", "999"}};

/* Reads the report group by group; `group` is empty at the end. */
typedef struct reader {
  text group, rest;
  int number;
} reader;

static bool advance(reader *in) {
  in->rest = trimmed(in->rest);
  in->group = (text){in->rest.at, 0};
  while (in->group.size < in->rest.size && !is_space(in->rest.at[in->group.size])) in->group.size++;
  skip(&in->rest, in->group.size);
  in->number++;
  return in->group.size > 0;
}

/* Extends the group by the next word if they form a pair. */
static bool join(reader *in) {
  reader next = *in;
  if (!advance(&next)) return false;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    if (!like(in->group, pairs[i][0]) || !like(next.group, pairs[i][1])) continue;
    in->group.size = (size_t)(next.group.at - in->group.at) + next.group.size;
    in->rest = next.rest;
    return true;
  }
  return false;
}

/* Separates a word that is written without a space before it, "Q1009RMK". Returns the group, without a mark of
 * punctuation at its end. */
static text separate(reader *in) {
  static const char *const words[] = {"RMK", "NOSIG", NULL};
  for (const char *const *word = words; *word != NULL; word++) {
    size_t size = strlen(*word);
    if (in->group.size <= size || memcmp(in->group.at + in->group.size - size, *word, size) != 0) continue;
    in->group.size -= size;
    in->rest.at -= size;
    in->rest.size += size;
  }
  text g = in->group;
  if (g.size > 1 && strchr(".,;", g.at[g.size - 1]) != NULL) g.size--;
  return g;
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

/* Returns NULL, or the fault of the group at which it stopped. */
static const char *read_header(report *r, reader *in) {
  advance(in);
  if (equal(in->group, "METAR") || equal(in->group, "SPECI")) {
    r->type = equal(in->group, "METAR") ? "METAR" : "SPECI";
    advance(in);
  }
  if (equal(in->group, "COR")) advance(in);
  if (!station(r, in->group)) return "no station (four letters or digits, the first a letter)";
  advance(in);
  if (equal(in->group, "COR")) advance(in);
  return observed(r, in->group) ? NULL : "no time of observation (ddhhmmZ)";
}

/* Returns false at a group that is not understood if the reading is strict, or else collects it. */
static bool read_body(report *r, reader *in, bool strict) {
  bool in_trend = false, in_remarks = false;
  while (advance(in)) {
    if (in_remarks) {
      parse(r, in->group, PARSERS - REMARK_PARSERS);
      continue;
    }
    in_remarks = like_one(in->group, remarks);
    in_trend = in_trend || like_one(in->group, trends);
    if (in_remarks || in_trend) continue;
    for (int words = 1; words < METAR_WORDS && join(in); words++) continue;
    text g = separate(in);
    if (parse(r, g, 0)) continue;
    if (strict) return false;
    r->unparsed[r->unparsed_count++] = g;
  }
  return true;
}

/* Everything but the lists, whose contents count only up to their sizes. */
static void clear(report *r) {
  r->type = r->minimum_direction = NULL;
  r->automatic = r->estimated = false;
  r->direction = r->speed = r->gust = r->visibility = r->minimum = r->vertical_visibility = NONE;
  r->temperature = r->dewpoint = r->altimeter = r->altimeter_hpa = r->station_pressure = r->sea_level_pressure = NONE;
  r->rain_10_minutes = r->rain_since_9 = NONE;
  r->weather.count = r->runway_visual_range.count = r->runway_state.count = r->colour_state.count = 0;
  r->sky_count = r->convection_count = r->unparsed_count = 0;
}

bool metar_decode(text raw, bool strict, report *r, char message[METAR_MESSAGE_MAX]) {
  reader in = {{raw.at, 0}, trimmed(raw), 0};
  char quote[QUOTED_MAX];
  r->raw = in.rest;
  clear(r);
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
  while (in.rest.size > 0 && in.rest.at[in.rest.size - 1] == '=') {
    in.rest.size--; /* the end of a report in a bulletin */
  }
  const char *wrong = read_header(r, &in);
  if (wrong == NULL && !read_body(r, &in, strict)) wrong = "not understood";
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

/* Puts text with the escapes that JSON needs. */
static void put_escaped(writer *out, text t) {
  for (size_t i = 0; i < t.size; i++) {
    char c = t.at[i];
    const char *escaped = c == '"' ? "\\\"" : c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    PUT(out, "%.*s", c == '"' || c == '\\' || c < ' ' ? 2 : 1, c == '"' || c == '\\' || c < ' ' ? escaped : &c);
  }
}

/* Puts groups as they are in the report, with spaces between them. */
static void put_groups(writer *out, const char *before, const groups *list) {
  PUT(out, "%s%s", before, list->count == 0 ? "null" : "\"");
  for (size_t i = 0; i < list->count; i++) {
    PUT(out, "%.*s%s", (int)list->at[i].size, list->at[i].at, i + 1 < list->count ? " " : "\"");
  }
}

/* Lowers the ceiling to a layer's; returns whether the layer is known. */
static bool lower_ceiling(const report *r, const layer *l, int *ceiling) {
  if (l->cover == NULL) return false;
  bool obscured = strcmp(l->cover, "OVX") == 0;
  if (!obscured && strcmp(l->cover, "BKN") != 0 && strcmp(l->cover, "OVC") != 0) return true;
  int base = obscured ? r->vertical_visibility : l->base;
  if (base != NONE && base < *ceiling) *ceiling = base;
  return base != NONE;
}

/* The categories of the US National Weather Service; NULL if what is unknown of visibility and ceiling could change
 * it. */
static const char *flight_category(const report *r) {
  int ceiling = INT_MAX;
  bool known = r->visibility != NONE && r->sky_count > 0;
  for (size_t i = 0; i < r->sky_count; i++) known = lower_ceiling(r, &r->sky[i], &ceiling) && known;
  if (ceiling < 500 || (r->visibility != NONE && r->visibility < 100)) return "LIFR";
  return !known                                    ? NULL
         : ceiling < 1000 || r->visibility < 300   ? "IFR"
         : ceiling <= 3000 || r->visibility <= 500 ? "MVFR"
                                                   : "VFR";
}

static void put_wind(writer *out, const report *r) {
  PUT(out, ",\"wind\":");
  if (r->direction == NONE && r->speed == NONE) {
    PUT(out, "null");
    return;
  }
  put_number(out, "{\"direction_deg\":", r->direction, 1);
  put_number(out, ",\"speed_kt\":", r->speed, 1);
  put_number(out, ",\"gust_kt\":", r->gust, 1);
  PUT(out, ",\"estimated\":%s}", r->estimated ? "true" : "false");
}

static void put_visibility(writer *out, const report *r) {
  put_number(out, ",\"visibility_mi\":", r->visibility, 100);
  PUT(out, ",\"minimum_visibility\":");
  if (r->minimum == NONE) {
    PUT(out, "null");
    return;
  }
  put_number(out, "{\"distance_mi\":", r->minimum, 100);
  put_word(out, ",\"direction\":", r->minimum_direction);
  PUT(out, "}");
}

static void put_sky(writer *out, const report *r) {
  PUT(out, ",\"sky\":%s", r->sky_count == 0 ? "null" : "[");
  for (size_t i = 0; i < r->sky_count; i++) {
    put_word(out, i == 0 ? "{\"cover\":" : ",{\"cover\":", r->sky[i].cover);
    put_number(out, ",\"base_ft\":", r->sky[i].base, 1);
    put_word(out, ",\"type\":", r->sky[i].type);
    PUT(out, i + 1 < r->sky_count ? "}" : "}]");
  }
}

static void put_convection(writer *out, const report *r) {
  PUT(out, ",\"convection\":%s", r->convection_count == 0 ? "null" : "[");
  for (size_t i = 0; i < r->convection_count; i++) {
    text rest = r->convection[i].directions;
    const char *direction, *before = "";
    put_word(out, i == 0 ? "{\"type\":" : ",{\"type\":", r->convection[i].type);
    PUT(out, ",\"directions\":[");
    while (rest.size > 0) {
      if ((direction = take_one(&rest, compass)) == NULL) {
        skip(&rest, 1); /* a separator */
        continue;
      }
      put_word(out, before, direction);
      before = ",";
    }
    PUT(out, i + 1 < r->convection_count ? "]}" : "]}]");
  }
}

static void put_rainfall(writer *out, const report *r) {
  PUT(out, ",\"rainfall\":");
  if (r->rain_10_minutes == NONE && r->rain_since_9 == NONE) {
    PUT(out, "null");
    return;
  }
  put_number(out, "{\"last_10_minutes_mm\":", r->rain_10_minutes, 10);
  put_number(out, ",\"since_9_mm\":", r->rain_since_9, 10);
  PUT(out, "}");
}

static void put_unparsed(writer *out, const report *r) {
  PUT(out, ",\"unparsed\":[");
  for (size_t i = 0; i < r->unparsed_count; i++) {
    PUT(out, i == 0 ? "{\"group\":\"" : ",{\"group\":\"");
    put_escaped(out, r->unparsed[i]);
    PUT(out, "\",\"column\":%zu}", (size_t)(r->unparsed[i].at - r->raw.at) + 1);
  }
  PUT(out, "]");
}

size_t metar_json(const report *r, char json[METAR_JSON_MAX]) {
  writer out = {json, 0};
  PUT(&out, "{\"station\":\"%.*s\"", (int)r->station.size, r->station.at);
  PUT(&out, ",\"observed\":{\"day\":%d,\"hour\":%d,\"minute\":%d}", r->day, r->hour, r->minute);
  put_word(&out, ",\"type\":", r->type);
  PUT(&out, ",\"auto\":%s", r->automatic ? "true" : "false");
  put_wind(&out, r);
  put_visibility(&out, r);
  put_groups(&out, ",\"runway_visual_range\":", &r->runway_visual_range);
  put_groups(&out, ",\"weather\":", &r->weather);
  put_sky(&out, r);
  put_number(&out, ",\"vertical_visibility_ft\":", r->vertical_visibility, 1);
  put_convection(&out, r);
  put_number(&out, ",\"temperature_c\":", r->temperature, 10);
  put_number(&out, ",\"dewpoint_c\":", r->dewpoint, 10);
  put_number(&out, ",\"altimeter_inhg\":", r->altimeter, 100);
  put_number(&out, ",\"altimeter_hpa\":", r->altimeter_hpa, 10);
  put_number(&out, ",\"sea_level_pressure_hpa\":", r->sea_level_pressure, 10);
  put_number(&out, ",\"station_pressure_hpa\":", r->station_pressure, 10);
  put_rainfall(&out, r);
  put_groups(&out, ",\"runway_state\":", &r->runway_state);
  put_groups(&out, ",\"colour_state\":", &r->colour_state);
  put_word(&out, ",\"flight_category\":", flight_category(r));
  put_unparsed(&out, r);
  PUT(&out, ",\"raw\":\"");
  put_escaped(&out, r->raw);
  PUT(&out, "\"}");
  return out.size;
}
