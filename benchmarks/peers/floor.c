/* SPDX-License-Identifier: MIT
 *
 * Lower bounds for any contender, timed in C. Each function returns the nanoseconds that `count` rounds took. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */

#include <backworks_plugin.h>

#include <time.h>

typedef int32_t (*process_function)(backworks_plugin *, const backworks_request *, backworks_response *);
typedef void (*free_function)(char *, size_t);

/* Prevents the compiler from removing results that are not read. */
#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Calls the plugin's function and its free_string by pointer, as a host written in C would. */
BACKWORKS_EXPORT uint64_t floor_call(process_function process, free_function release, backworks_plugin *plugin,
                                     const char *data, size_t size, uint64_t count) {
  backworks_request request = {.struct_size = sizeof request,
                               .endpoint = "/echo",
                               .endpoint_size = 5,
                               .method = "POST",
                               .method_size = 4,
                               .data = data,
                               .data_size = size};
  uint64_t start = now();
  while (count-- > 0) {
    backworks_response response = {.struct_size = sizeof response};
    process(plugin, &request, &response);
    KEEP(response.data);
    release(response.data, response.size);
  }
  return now() - start;
}

/* Copies the data there and back with memcpy, between fixed buffers. */
BACKWORKS_EXPORT uint64_t floor_copy(const char *data, size_t size, uint64_t count) {
  char *there = malloc(size), *back = malloc(size);
  uint64_t start;
  if (there == NULL || back == NULL) {
    abort();
  }
  memset(there, 0, size); /* allocates the pages before the clock starts */
  memset(back, 0, size);
  start = now();
  while (count-- > 0) {
    memcpy(there, data, size);
    KEEP(there);
    memcpy(back, there, size);
    KEEP(back);
  }
  start = now() - start;
  free(there);
  free(back);
  return start;
}

/* The same, into memory that is allocated for each round, as separate responses require. */
BACKWORKS_EXPORT uint64_t floor_copy_fresh(const char *data, size_t size, uint64_t count) {
  uint64_t start = now();
  while (count-- > 0) {
    char *there = malloc(size), *back;
    if (there == NULL) {
      abort();
    }
    memcpy(there, data, size);
    KEEP(there);
    back = malloc(size);
    if (back == NULL) {
      abort();
    }
    memcpy(back, there, size);
    KEEP(back);
    free(there);
    free(back);
  }
  return now() - start;
}
