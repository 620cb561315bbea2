/* A decoder of METAR and SPECI reports: WMO No. 306, FM 15, and US Federal Meteorological Handbook No. 1.
 * It allocates nothing, and runs in time linear in the size of the report, which is bounded. */
#ifndef METAR_H
#define METAR_H

#include <limits.h>

#include "text.h"

#define METAR_MAX 2048         /* maximum bytes of a report; real ones have at most a few hundred */
#define METAR_JSON_MAX 49152   /* room for the JSON of any report, also if no group is understood */
#define METAR_MESSAGE_MAX 128  /* room for any message */
#define METAR_LAYERS 16
#define METAR_GROUPS 16
#define METAR_WORDS 16 /* maximum words of a group */
#define NONE INT_MIN /* a value that the report does not contain */

/* Groups that the response contains as they are. */
typedef struct groups {
  text at[METAR_GROUPS];
  size_t count;
} groups;

typedef struct layer {
  const char *cover; /* NULL if unknown */
  int base;          /* feet above the ground */
  const char *type;  /* "CB" or "TCU", or NULL */
} layer;

typedef struct cloud {
  const char *type; /* "CB" or "TCU" */
  text directions;  /* with separators */
} cloud;

typedef struct report {
  text raw, station;
  const char *type; /* "METAR" or "SPECI" if the report contains it, or NULL */
  bool automatic, estimated;
  int day, hour, minute;
  int direction, speed, gust;    /* degrees, NONE if variable; knots */
  int visibility, minimum;       /* hundredths of a statute mile */
  const char *minimum_direction; /* of the minimum visibility, or NULL */
  groups runway_visual_range, weather, runway_state, colour_state;
  layer sky[METAR_LAYERS];
  size_t sky_count;
  int vertical_visibility; /* feet */
  cloud convection[METAR_LAYERS];
  size_t convection_count;
  int temperature, dewpoint;                               /* tenths of a degree Celsius */
  int altimeter;                                           /* hundredths of an inch of mercury */
  int altimeter_hpa, sea_level_pressure, station_pressure; /* tenths of a hectopascal */
  int rain_10_minutes, rain_since_9;                       /* tenths of a millimetre */
  text unparsed[METAR_MAX / 2];                            /* at least one byte and one space each */
  size_t unparsed_count;
} report;

/* Decodes a report; the result points into the text. What is not understood is collected, or is a failure if `strict`.
 * On failure, returns false and stores a message. */
bool metar_decode(text raw, bool strict, report *r, char message[METAR_MESSAGE_MAX]);

/* Writes the report as JSON and returns its size. */
size_t metar_json(const report *r, char out[METAR_JSON_MAX]);

#endif
