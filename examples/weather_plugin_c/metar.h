/* A decoder of METAR and SPECI reports: WMO No. 306, FM 15, and US Federal Meteorological Handbook No. 1.
 * It allocates nothing, and runs in time linear in the size of the report, which is bounded. */
#ifndef METAR_H
#define METAR_H

#include <limits.h>

#include "text.h"

#define METAR_MAX 2048        /* maximum bytes of a report; real ones have at most a few hundred */
#define METAR_JSON_MAX 8192   /* room for the JSON of any report: twice the report and all the members */
#define METAR_MESSAGE_MAX 128 /* room for any message */
#define METAR_LAYERS 16
#define METAR_WEATHER 16
#define NONE INT_MIN /* a value that the report does not contain */

typedef struct report {
  text raw, station;
  const char *type; /* "METAR" or "SPECI" if the report contains it, or NULL */
  bool automatic;
  int day, hour, minute;
  int direction, speed, gust; /* degrees, NONE if variable; knots */
  int visibility;             /* hundredths of a statute mile */
  text weather[METAR_WEATHER];
  size_t weather_count;
  struct {
    const char *cover; /* NULL if unknown */
    int base;          /* feet above the ground */
  } sky[METAR_LAYERS];
  size_t sky_count;
  int vertical_visibility;   /* feet */
  int temperature, dewpoint; /* tenths of a degree Celsius */
  int altimeter;             /* hundredths of an inch of mercury */
  int sea_level_pressure;    /* tenths of a hectopascal */
} report;

/* Decodes a report; the result points into the text. On failure, returns false and stores a message. */
bool metar_decode(text raw, report *r, char message[METAR_MESSAGE_MAX]);

/* Writes the report as JSON and returns its size. */
size_t metar_json(const report *r, char out[METAR_JSON_MAX]);

#endif
