/* Calls the probe of a kit as the header allows it and the host does not: with structures of every size, each before a
 * page that must not be touched, with NULL, and after the end of an instance. Ends with 0 if all of it is answered as it
 * should be. driver LIBRARY, made by the test with a compiler for POSIX. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backworks_plugin.h"

#define CHECK(what)                                                     \
  do {                                                                  \
    if (!(what)) {                                                      \
      fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what);        \
      exit(1);                                                          \
    }                                                                   \
  } while (0)

static __typeof__(&backworks_plugin_abi_version) abi_version;
static __typeof__(&backworks_plugin_name) name;
static __typeof__(&backworks_plugin_init) init;
static __typeof__(&backworks_plugin_process_endpoint_data) process;
static __typeof__(&backworks_plugin_free_string) free_string;
static __typeof__(&backworks_plugin_health_check) health_check;
static __typeof__(&backworks_plugin_reconfigure) reconfigure;
static __typeof__(&backworks_plugin_shutdown) shut_down;

static int records;

static void take_record(void *context, uint32_t level, const char *text, size_t size) {
  CHECK(context == &records && level > 0 && text != NULL && size > 0);
  __atomic_fetch_add(&records, 1, __ATOMIC_SEQ_CST);
}

static const void *no_extension(void *context, const char *id) {
  (void)context;
  (void)id;
  return NULL;
}

/* A copy of the first `size` bytes, right before a page that nobody may read or write. */
static void *fenced(const void *data, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t pages = (size + page - 1) / page + 1;
  char *memory = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  char *copy;
  CHECK(memory != MAP_FAILED);
  CHECK(mprotect(memory + pages * page, page, PROT_NONE) == 0);
  copy = memory + pages * page - size;
  if (size > 0) {
    memcpy(copy, data, size);
  }
  return copy;
}

static backworks_response response(void) {
  backworks_response made;
  memset(&made, 0, sizeof made);
  made.struct_size = sizeof made;
  return made;
}

static backworks_request request(const char *endpoint, const char *data, size_t size) {
  backworks_request made;
  memset(&made, 0, sizeof made);
  made.struct_size = sizeof made;
  made.endpoint = fenced(endpoint, strlen(endpoint));
  made.endpoint_size = strlen(endpoint);
  made.method = fenced("POST", 4);
  made.method_size = 4;
  made.data = fenced(data, size);
  made.data_size = size;
  return made;
}

static int said(backworks_response *answer, const char *text) {
  int same = answer->data != NULL && backworks_equal(answer->data, answer->size, text);
  if (!same) {
    fprintf(stderr, "said: %.*s\n", (int)answer->size, answer->data == NULL ? "" : answer->data);
  }
  free_string(answer->data, answer->size);
  return same;
}

static backworks_plugin *start(const backworks_host *host, const char *config) {
  backworks_plugin *made = NULL;
  backworks_response error = response();
  CHECK(init(host, fenced(config, strlen(config)), strlen(config), &made, &error) == BACKWORKS_OK);
  CHECK(made != NULL && error.data == NULL);
  return made;
}

/* Structures that end early, as those of an older host would. */
static void check_sizes(backworks_plugin *plugin) {
  backworks_request whole = request("/echo", "hello", 5);
  for (uint32_t size = 8; size <= sizeof whole; size += 8) {
    backworks_request *cut = fenced(&whole, size);
    backworks_response answer = response();
    int32_t code;
    cut->struct_size = size;
    code = process(plugin, cut, &answer);
    if (size >= offsetof(backworks_request, data_size) + sizeof(size_t)) {
      CHECK(code == BACKWORKS_OK && said(&answer, "hello"));
    } else if (size >= offsetof(backworks_request, endpoint_size) + sizeof(size_t)) {
      CHECK(code == BACKWORKS_OK && said(&answer, ""));
    } else {
      CHECK(code == BACKWORKS_UNIMPLEMENTED && said(&answer, ""));
    }
  }
  whole = request("/rich", "", 0);
  for (uint32_t size = 8; size <= sizeof(backworks_response); size += 8) {
    backworks_response empty = response();
    backworks_response *cut = fenced(&empty, size);
    int32_t code;
    cut->struct_size = size;
    code = process(plugin, &whole, cut);
    if (size < offsetof(backworks_response, size) + sizeof(size_t)) {
      CHECK(code == BACKWORKS_INTERNAL);
      continue;
    }
    CHECK(code == BACKWORKS_OK && cut->http_status == 201 && backworks_equal(cut->data, cut->size, "made"));
    if (size >= offsetof(backworks_response, content_type_size) + sizeof(size_t)) {
      CHECK(backworks_equal(cut->content_type, cut->content_type_size, "text/csv"));
    }
    if (size >= offsetof(backworks_response, headers_size) + sizeof(size_t)) {
      CHECK(backworks_equal(cut->headers, cut->headers_size, "X-One: 1\r\nX-Two: 2\r\n"));
    }
    free_string(cut->data, cut->size);
  }
}

/* What the header does not allow, and what must not end the process all the same. */
static void check_null(const backworks_host *host, backworks_plugin *plugin) {
  backworks_request whole = request("/echo", "", 0);
  backworks_response answer = response();
  backworks_plugin *made = (backworks_plugin *)&answer;
  free_string(NULL, 0);
  CHECK(init(host, "{}", 2, NULL, NULL) != BACKWORKS_OK);
  CHECK(init(host, "{\"refuse\":1}", 12, &made, NULL) == BACKWORKS_UNAVAILABLE && made == NULL);
  CHECK(process(NULL, &whole, &answer) != BACKWORKS_OK);
  free_string(answer.data, answer.size);
  answer = response();
  CHECK(process(plugin, NULL, &answer) != BACKWORKS_OK);
  free_string(answer.data, answer.size);
  CHECK(process(plugin, &whole, NULL) == BACKWORKS_INTERNAL);
  CHECK(health_check(NULL, NULL) != BACKWORKS_OK);
  CHECK(reconfigure(NULL, "{}", 2, NULL) != BACKWORKS_OK);
  CHECK(shut_down(NULL) != BACKWORKS_OK);
  /* No host, and one that ends before its functions: nothing is logged then, and nothing read. */
  backworks_host *bare = fenced(host, 8);
  bare->struct_size = 8;
  CHECK(shut_down(start(bare, "{}")) == BACKWORKS_OK);
  CHECK(shut_down(start(NULL, "{}")) == BACKWORKS_OK);
}

static void check_configuration(const backworks_host *host) {
  backworks_plugin *plugin = start(host, "{\"a\":1}");
  backworks_request asks = request("/config", "", 0);
  backworks_response answer = response();
  CHECK(process(plugin, &asks, &answer) == BACKWORKS_OK && said(&answer, "{\"a\":1}"));
  answer = response();
  CHECK(reconfigure(plugin, fenced("{\"b\":2}", 7), 7, &answer) == BACKWORKS_OK && answer.data == NULL);
  CHECK(process(plugin, &asks, &answer) == BACKWORKS_OK && said(&answer, "{\"b\":2}"));
  answer = response();
  CHECK(reconfigure(plugin, "{\"refuse\":1}", 12, &answer) == BACKWORKS_INVALID_ARGUMENT && said(&answer, "no"));
  answer = response();
  CHECK(process(plugin, &asks, &answer) == BACKWORKS_OK && said(&answer, "{\"b\":2}"));
  answer = response();
  CHECK(health_check(plugin, &answer) == BACKWORKS_OK && said(&answer, "well"));
  CHECK(shut_down(plugin) == BACKWORKS_OK);
}

static void *call_often(void *plugin) {
  for (int round = 0; round < 2000; round++) {
    char text[32];
    backworks_request asks = {.struct_size = sizeof asks, .endpoint = "/echo", .endpoint_size = 5, .method = "GET",
                              .method_size = 3, .data = text};
    backworks_response answer = response();
    asks.data_size = (size_t)snprintf(text, sizeof text, "%p %d", (void *)&answer, round);
    CHECK(process(plugin, &asks, &answer) == BACKWORKS_OK && said(&answer, text));
  }
  return NULL;
}

int main(int count, char **arguments) {
  backworks_host host = {sizeof host, BACKWORKS_ABI_VERSION, &records, take_record, no_extension};
  backworks_plugin *first, *second;
  backworks_request asks;
  backworks_response late = response();
  pthread_t threads[4];
  void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library == NULL) {
    fprintf(stderr, "%s\n", count == 2 ? dlerror() : "usage: driver LIBRARY");
    return 2;
  }
#define FIND(function, symbol) CHECK((*(void **)&function = dlsym(library, "backworks_plugin_" symbol)) != NULL)
  FIND(abi_version, "abi_version");
  FIND(name, "name");
  FIND(init, "init");
  FIND(process, "process_endpoint_data");
  FIND(free_string, "free_string");
  FIND(health_check, "health_check");
  FIND(reconfigure, "reconfigure");
  FIND(shut_down, "shutdown");
  CHECK(abi_version() == BACKWORKS_ABI_VERSION);
  CHECK(strcmp(name(), "probe") == 0 && name() == name());

  first = start(fenced(&host, sizeof host), "{}");
  second = start(&host, "{}");
  CHECK(first != second && records == 2);
  check_sizes(first);
  check_null(&host, first);
  check_configuration(&host);
  for (int each = 0; each < 4; each++) {
    CHECK(pthread_create(&threads[each], NULL, call_often, each % 2 == 0 ? first : second) == 0);
  }
  for (int each = 0; each < 4; each++) {
    CHECK(pthread_join(threads[each], NULL) == 0);
  }
  /* "May be called after the shutdown of the instance that made the answer." */
  asks = request("/rich", "", 0);
  CHECK(process(first, &asks, &late) == BACKWORKS_OK);
  CHECK(shut_down(first) == BACKWORKS_OK);
  CHECK(backworks_equal(late.content_type, late.content_type_size, "text/csv") && said(&late, "made"));
  asks = request("/echo", "still", 5);
  late = response();
  CHECK(process(second, &asks, &late) == BACKWORKS_OK && said(&late, "still"));
  CHECK(shut_down(second) == BACKWORKS_OK);
  puts("fine");
  return 0;
}
