// SPDX-License-Identifier: MIT
//
// backworks_plugin.hpp: write plugins for Backworks in C++17, without raw pointers or return codes.
//
// A plugin is a class, each object of it is an instance, and exceptions are errors:
//
//   #include "backworks_plugin.hpp"
//
//   BACKWORKS_PLUGIN("echo", "1.0.0", "description": "Returns what it receives")
//
//   class Echo : public backworks::Plugin {
//    public:
//     Echo(backworks::Host, std::string_view) {}
//
//     std::optional<backworks::Response> process(const backworks::Request &request) override {
//       if (request.data.empty()) throw backworks::Error(BACKWORKS_INVALID_ARGUMENT, "there is nothing to echo");
//       return backworks::Response(std::string(request.data));
//     }
//   };
//
//   BACKWORKS_PLUGIN_CLASS(Echo)
//
// No exception crosses the boundary: every exported function runs inside one barrier (detail::guarded). A
// backworks::Error becomes its code, std::bad_alloc becomes RESOURCE_EXHAUSTED, and every other exception becomes
// INTERNAL with its what(); the instance keeps working. A thread that the plugin starts has no barrier: an uncaught
// exception in such a thread ends the process.
//
// backworks_plugin.h, which this file includes, is the contract; the comments below quote it.
#ifndef BACKWORKS_PLUGIN_HPP
#define BACKWORKS_PLUGIN_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "backworks_plugin.h"

namespace backworks {

// An error for the host: a code of the ABI and a human-readable message.
class Error : public std::runtime_error {
 public:
  // `code` is a backworks_code other than BACKWORKS_OK; OK and unknown numbers become UNKNOWN. `status` is the HTTP
  // status of the response, 200 to 599, or 0 for the default status of the code.
  Error(int32_t code, const std::string &message, uint32_t status = 0)
      : std::runtime_error(message),
        code_(code > BACKWORKS_OK && code <= BACKWORKS_UNAUTHENTICATED ? code : int32_t{BACKWORKS_UNKNOWN}),
        status_(status) {}

  int32_t code() const noexcept { return code_; }
  uint32_t status() const noexcept { return status_; }

 private:
  int32_t code_;
  uint32_t status_;
};

// Writes to the host's log. Cheap to copy; usable from any thread until the plugin's destructor returns.
class Host {
 public:
  Host() = default;  // discards all records, for tests
  explicit Host(const backworks_host *host) noexcept {
    // "A field may be read only if struct_size covers it."
    if (host != nullptr && host->struct_size >= offsetof(backworks_host, log) + sizeof host->log) host_ = host;
  }

  // Writes one record under the plugin's name; `level` is a backworks_level.
  void log(uint32_t level, std::string_view text) const noexcept {
    if (host_ != nullptr) host_->log(host_->context, level, text.data() ? text.data() : "", text.size());
  }

 private:
  const backworks_host *host_ = nullptr;
};

// One request. Valid only during the call: copy whatever you need afterwards.
struct Request {
  std::string_view endpoint;     // the route, as written in the configuration
  std::string_view method;       // in upper case
  std::string_view data;         // any bytes
  std::string_view traceparent;  // the W3C Trace Context, or empty
  std::string_view tracestate;
  // When the caller stops waiting, if ever.
  std::optional<std::chrono::steady_clock::time_point> deadline;
};

// One response.
struct Response {
  Response() = default;
  explicit Response(std::string bytes, std::string type = {})
      : data(std::move(bytes)), content_type(std::move(type)) {}

  std::string data;
  std::string content_type;  // empty: the host's default, application/json
  std::string headers;       // field lines, each "Name: value" and ended by CR LF
  uint32_t status = 0;       // the HTTP status, 200 to 599; 0: 200

  // Adds one header field. Throws std::invalid_argument for an invalid name, and for a line break or another control
  // character, with which a value could inject another field.
  Response &header(std::string_view name, std::string_view value) {
    for (std::string_view text : {name, value}) {
      for (char each : text) {
        const auto byte = static_cast<unsigned char>(each);
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
          throw std::invalid_argument("a header field contains a control character");
        }
      }
    }
    if (name.empty() || name.find_first_of(": \t") != std::string_view::npos) {
      throw std::invalid_argument("not a valid header field name: " + std::string(name));
    }
    headers.append(name).append(": ").append(value).append("\r\n");
    return *this;
  }
};

// The base class of a plugin. A plugin has a constructor (Host, std::string_view config), where config is a JSON object
// as text, and process(). The destructor ends the instance and must stop the threads that the instance started.
//
// Calls to process() and health_check() run concurrently, unless the manifest says "thread_safe": false.
class Plugin {
 public:
  Plugin() = default;
  Plugin(const Plugin &) = delete;
  Plugin &operator=(const Plugin &) = delete;
  virtual ~Plugin() = default;

  // Handles one request; std::nullopt means "not mine".
  virtual std::optional<Response> process(const Request &request) = 0;

  // Returns an optional human-readable text, or throws if the plugin cannot do its work. Must return within a second.
  virtual std::optional<std::string> health_check() { return std::nullopt; }

  // Takes a new configuration while no other call runs, or throws and keeps the old one.
  virtual void reconfigure(std::string_view /* config */) {
    throw Error(BACKWORKS_UNIMPLEMENTED, "this plugin accepts a new configuration only on reload");
  }
};

namespace detail {

// Holds the plugin by its common base class, whatever other base classes it has.
struct Instance {
  std::unique_ptr<Plugin> plugin;
  Host host;
};

// "All text is UTF-8", but what() may be anything: invalid bytes become question marks.
inline std::string utf8(std::string_view text) {
  std::string clean(text);
  const auto byte = [&clean](std::size_t at) {
    return at < clean.size() ? static_cast<unsigned char>(clean[at]) : 0u;
  };
  for (std::size_t at = 0; at < clean.size();) {
    const unsigned first = byte(at);
    std::size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    for (std::size_t next = 1; next < length; next++) {
      if ((byte(at + next) & 0xc0u) != 0x80u) length = 0;
    }
    // Overlong forms, surrogates, and code points above U+10FFFF.
    const unsigned second = byte(at + 1);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f)) {
      length = 0;
    }
    if (length == 0) clean[at] = '?';
    at += length == 0 ? 1 : length;
  }
  return clean;
}

// Passes a response or a message to the host, and returns the code. The data, the media type and the header fields are
// one allocation from malloc, which backworks_plugin_free_string frees: "static, or in the same allocation as data".
// Allocates nothing else and throws nothing.
inline int32_t respond(backworks_response *raw, int32_t code, std::string_view data, std::string_view content_type,
                       std::string_view headers, uint32_t status) noexcept {
  // A failure to pass on the response is an error too, but it must not replace the plugin's own error.
  const auto failed = [code](int32_t instead) { return code == BACKWORKS_OK ? instead : code; };
  const auto covers = [raw](std::size_t offset, std::size_t size) { return offset + size <= raw->struct_size; };
  if (raw == nullptr || !covers(offsetof(backworks_response, size), sizeof raw->size)) {
    return failed(BACKWORKS_INTERNAL);
  }
  char *memory = static_cast<char *>(std::malloc(data.size() + content_type.size() + headers.size() + 1));
  if (memory == nullptr) return failed(BACKWORKS_RESOURCE_EXHAUSTED);
  char *end = memory;
  const auto put = [&end](std::string_view text) {
    char *begin = end;
    if (!text.empty()) std::memcpy(begin, text.data(), text.size());
    end += text.size();
    return begin;
  };
  raw->data = put(data);
  raw->size = data.size();
  raw->http_status = status;
  if (!content_type.empty() && covers(offsetof(backworks_response, content_type_size), sizeof(size_t))) {
    raw->content_type = put(content_type);
    raw->content_type_size = content_type.size();
  }
  if (!headers.empty() && covers(offsetof(backworks_response, headers_size), sizeof(size_t))) {
    raw->headers = put(headers);
    raw->headers_size = headers.size();
  }
  return code;
}

inline int32_t fail(backworks_response *raw, int32_t code, const char *message, uint32_t status = 0) noexcept {
  try {
    return respond(raw, code, utf8(message == nullptr ? "" : message), {}, {}, status);
  } catch (...) {
    return code;  // no memory for a message
  }
}

// The barrier: "No function may throw". `body` returns std::optional<Response>.
template <typename Body>
int32_t guarded(backworks_response *raw, Body body) noexcept {
  try {
    const std::optional<Response> answer = body();
    if (!answer) return BACKWORKS_OK;
    return respond(raw, BACKWORKS_OK, answer->data, answer->content_type, answer->headers, answer->status);
  } catch (const Error &error) {
    return fail(raw, error.code(), error.what(), error.status());
  } catch (const std::bad_alloc &error) {
    return fail(raw, BACKWORKS_RESOURCE_EXHAUSTED, error.what());
  } catch (const std::exception &error) {
    return fail(raw, BACKWORKS_INTERNAL, error.what());
  } catch (...) {
    return fail(raw, BACKWORKS_INTERNAL, "an exception that is not a std::exception");
  }
}

inline std::string_view borrow(const char *data, std::size_t size) {
  if (size == 0) return {};
  if (data == nullptr) throw Error(BACKWORKS_INVALID_ARGUMENT, "the host passed NULL for bytes");
  return {data, size};
}

inline Request read(const backworks_request *raw) {
  if (raw == nullptr) throw Error(BACKWORKS_INVALID_ARGUMENT, "the host passed no request");
  const auto covers = [raw](std::size_t offset, std::size_t size) { return offset + size <= raw->struct_size; };
  // A pointer and its size together, or neither.
#define BACKWORKS_BORROW(field)                                                                  \
  covers(offsetof(backworks_request, field##_size), sizeof raw->field##_size)                    \
      ? borrow(raw->field, raw->field##_size)                                                    \
      : std::string_view()
  Request request{BACKWORKS_BORROW(endpoint),    BACKWORKS_BORROW(method),     BACKWORKS_BORROW(data),
                  BACKWORKS_BORROW(traceparent), BACKWORKS_BORROW(tracestate), std::nullopt};
#undef BACKWORKS_BORROW
  if (covers(offsetof(backworks_request, time_left_ns), sizeof raw->time_left_ns) && raw->time_left_ns != 0) {
    // A deadline in more than a hundred years is no limit, and would overflow the clock.
    constexpr uint64_t longest = UINT64_C(100) * 366 * 24 * 3600 * 1000000000;
    if (raw->time_left_ns < longest) {
      request.deadline = std::chrono::steady_clock::now() +
                         std::chrono::nanoseconds(static_cast<std::int64_t>(raw->time_left_ns));
    }
  }
  return request;
}

inline Instance &instance_of(backworks_plugin *plugin) {
  if (plugin == nullptr) throw Error(BACKWORKS_INVALID_ARGUMENT, "the host passed no instance");
  return *reinterpret_cast<Instance *>(plugin);
}

template <typename Class>
int32_t init(const backworks_host *raw_host, const char *config, std::size_t config_size, backworks_plugin **out,
             backworks_response *error) noexcept {
  if (out != nullptr) *out = nullptr;  // "On failure, ... leaves *out NULL"
  return guarded(error, [&]() -> std::optional<Response> {
    if (out == nullptr) throw Error(BACKWORKS_INVALID_ARGUMENT, "the host passed no `out`");
    const Host host(raw_host);
    auto instance = std::make_unique<Instance>(Instance{nullptr, host});
    instance->plugin = std::make_unique<Class>(host, borrow(config, config_size));
    *out = reinterpret_cast<backworks_plugin *>(instance.release());
    return std::nullopt;
  });
}

inline int32_t process(backworks_plugin *plugin, const backworks_request *request,
                       backworks_response *response) noexcept {
  return guarded(response, [&] { return instance_of(plugin).plugin->process(read(request)); });
}

inline int32_t health_check(backworks_plugin *plugin, backworks_response *response) noexcept {
  return guarded(response, [&]() -> std::optional<Response> {
    std::optional<std::string> text = instance_of(plugin).plugin->health_check();
    if (!text) return std::nullopt;
    return Response(utf8(*text));
  });
}

inline int32_t reconfigure(backworks_plugin *plugin, const char *config, std::size_t config_size,
                           backworks_response *error) noexcept {
  return guarded(error, [&]() -> std::optional<Response> {
    instance_of(plugin).plugin->reconfigure(borrow(config, config_size));
    return std::nullopt;
  });
}

// There is no way to return a message, and a destructor does not throw.
inline int32_t shutdown(backworks_plugin *plugin) noexcept {
  if (plugin == nullptr) return BACKWORKS_INVALID_ARGUMENT;
  delete reinterpret_cast<Instance *>(plugin);
  return BACKWORKS_OK;
}

}  // namespace detail
}  // namespace backworks

// Exports the class as the plugin. Use it once per library.
#define BACKWORKS_PLUGIN_CLASS(Class)                                                                     \
  BACKWORKS_PLUGIN_FREE_STRING                                                                            \
  int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,       \
                                backworks_plugin **out, backworks_response *error) {                      \
    return backworks::detail::init<Class>(host, config, config_size, out, error);                         \
  }                                                                                                       \
  int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request, \
                                                 backworks_response *response) {                          \
    return backworks::detail::process(plugin, request, response);                                         \
  }                                                                                                       \
  int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {         \
    return backworks::detail::health_check(plugin, response);                                             \
  }                                                                                                       \
  int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config, size_t config_size,  \
                                       backworks_response *error) {                                       \
    return backworks::detail::reconfigure(plugin, config, config_size, error);                            \
  }                                                                                                       \
  int32_t backworks_plugin_shutdown(backworks_plugin *plugin) { return backworks::detail::shutdown(plugin); }

#endif  // BACKWORKS_PLUGIN_HPP
