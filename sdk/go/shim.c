/* SPDX-License-Identifier: MIT
 *
 * The exported functions of the ABI. They are C because cgo declares exported Go functions without `const`, which
 * conflicts with backworks_plugin.h. They also read and write the structures, so that struct_size is checked in one
 * place. An instance is a Go handle, because C must not keep a Go pointer. */
#include <string.h>

#include "_cgo_export.h"
#include "backworks_plugin.h"

#define COVERS(raw, field) (offsetof(__typeof__(*(raw)), field) + sizeof((raw)->field) <= (raw)->struct_size)

/* A pointer and its size together, or neither. */
#define BORROW(raw, name) \
  (COVERS(raw, name##_size) ? (backworks_go_bytes){(char *)(raw)->name, (raw)->name##_size} : (backworks_go_bytes){NULL, 0})

/* Passes a response or a message to the host. `answer.data` is one allocation: the data, then the media type, then the
 * header fields; NULL means no response. */
static int32_t respond(backworks_response *raw, backworks_go_answer answer) {
  if (answer.data == NULL) {
    return answer.code;
  }
  if (raw == NULL || !COVERS(raw, size)) {
    free(answer.data);
    return answer.code == BACKWORKS_OK ? BACKWORKS_INTERNAL : answer.code;
  }
  raw->http_status = answer.http_status;
  raw->data = answer.data;
  raw->size = answer.size;
  if (answer.content_type_size > 0 && COVERS(raw, content_type_size)) {
    raw->content_type = answer.data + answer.size;
    raw->content_type_size = answer.content_type_size;
  }
  if (answer.headers_size > 0 && COVERS(raw, headers_size)) {
    raw->headers = answer.data + answer.size + answer.content_type_size;
    raw->headers_size = answer.headers_size;
  }
  return answer.code;
}

int32_t backworks_plugin_init(const backworks_host *host, const char *config_json, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  uintptr_t handle = 0;
  int32_t code;
  if (out == NULL) {
    return BACKWORKS_INVALID_ARGUMENT;
  }
  *out = NULL;
  if (host != NULL && !COVERS(host, log)) {
    host = NULL;
  }
  code = respond(error, backworksGoInit((backworks_host *)host, (backworks_go_bytes){(char *)config_json, config_size},
                                        &handle));
  if (code == BACKWORKS_OK) {
    *out = (backworks_plugin *)handle;
  }
  return code;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  backworks_go_request passed;
  if (plugin == NULL || request == NULL) {
    return BACKWORKS_INVALID_ARGUMENT;
  }
  passed.endpoint = BORROW(request, endpoint);
  passed.method = BORROW(request, method);
  passed.data = BORROW(request, data);
  passed.traceparent = BORROW(request, traceparent);
  passed.tracestate = BORROW(request, tracestate);
  passed.time_left_ns = COVERS(request, time_left_ns) ? request->time_left_ns : 0;
  return respond(response, backworksGoProcess((uintptr_t)plugin, &passed));
}

int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {
  return plugin == NULL ? BACKWORKS_INVALID_ARGUMENT : respond(response, backworksGoHealthCheck((uintptr_t)plugin));
}

int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config_json, size_t config_size,
                                     backworks_response *error) {
  if (plugin == NULL) {
    return BACKWORKS_INVALID_ARGUMENT;
  }
  return respond(error, backworksGoReconfigure((uintptr_t)plugin,
                                               (backworks_go_bytes){(char *)config_json, config_size}));
}

void backworks_plugin_free_string(char *data, size_t size) {
  (void)size;
  free(data);
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  return plugin == NULL ? BACKWORKS_INVALID_ARGUMENT : backworksGoShutdown((uintptr_t)plugin);
}
