/* Feeds records from a file to the weather plugin, which is compiled in with the sanitizers: whoever of them finds a
 * fault ends the process with a message and an exit code other than 0.
 *
 *   weather_fuzz_driver RECORDS REPORTS
 *
 * RECORDS holds records, each behind its size in four bytes, little end first. Each is the data of a POST and of a GET,
 * an endpoint, and a configuration. REPORTS is a file of reports, which an instance is started with. Prints how many
 * calls it made. */
#include <backworks_plugin.h>

static void log_nothing(void *context, uint32_t level, const char *text, size_t size) {
  volatile char sink = 0;
  (void)context;
  (void)level;
  for (size_t i = 0; i < size; i++) {
    sink = text[i];
  }
  (void)sink;
}

static const void *no_extension(void *context, const char *id) {
  (void)context;
  (void)id;
  return NULL;
}

static const backworks_host host = {sizeof host, BACKWORKS_ABI_VERSION, NULL, log_nothing, no_extension};

static void give_back(backworks_response *response) {
  if (response->data != NULL) {
    backworks_plugin_free_string(response->data, response->size);
  }
}

static void call(backworks_plugin *plugin, const char *endpoint, size_t endpoint_size, const char *method,
                 const char *data, size_t size) {
  backworks_response response = {.struct_size = sizeof response};
  backworks_request request = {.struct_size = sizeof request,
                               .endpoint = endpoint,
                               .endpoint_size = endpoint_size,
                               .method = method,
                               .method_size = strlen(method),
                               .data = data,
                               .data_size = size};
  (void)backworks_plugin_process_endpoint_data(plugin, &request, &response);
  give_back(&response);
}

static backworks_plugin *start(const char *config, size_t size) {
  backworks_response error = {.struct_size = sizeof error};
  backworks_plugin *plugin = NULL;
  if (backworks_plugin_init(&host, config, size, &plugin, &error) != BACKWORKS_OK) {
    plugin = NULL;
  }
  give_back(&error);
  return plugin;
}

int main(int count, char **arguments) {
  char config[4096];
  unsigned char head[4];
  unsigned long calls = 0;
  FILE *records = count == 3 ? fopen(arguments[1], "rb") : NULL;
  if (records == NULL) {
    fprintf(stderr, "usage: weather_fuzz_driver RECORDS REPORTS\n");
    return 2;
  }
  int config_size = snprintf(config, sizeof config, "{\"reports\": \"%s\"}", arguments[2]);
  backworks_plugin *plugin = start(config, (size_t)config_size);
  if (plugin == NULL) {
    fprintf(stderr, "the plugin does not start with %s\n", arguments[2]);
    return 2;
  }
  while (fread(head, 1, sizeof head, records) == sizeof head) {
    size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    /* A block of exactly that size, so that a read behind its end is seen. */
    char *data = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, records) != size) {
      fprintf(stderr, "the records are cut off\n");
      return 2;
    }
    call(plugin, "/api/weather", 12, "POST", data, size);
    call(plugin, "/api/weather", 12, "GET", data, size);
    call(plugin, data, size, "GET", "", 0);
    backworks_plugin *other = start(data, size);
    if (other != NULL) {
      (void)backworks_plugin_shutdown(other);
    }
    free(data);
    calls += 4;
  }
  fclose(records);
  (void)backworks_plugin_shutdown(plugin);
  printf("%lu calls\n", calls);
  return 0;
}
