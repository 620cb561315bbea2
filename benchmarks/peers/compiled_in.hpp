/* SPDX-License-Identifier: MIT
 *
 * The common part of both compiled-in modules: the plugin, in the same translation unit, and one call of it. */
#pragma once

#include <stdexcept>
#include <string_view>

#include "plugin.c"

/* The response to one request, freed by the plugin at the end of its scope. */
class Answer {
 public:
  Answer(std::string_view endpoint, std::string_view method, std::string_view data) {
    backworks_request request{};
    request.struct_size = sizeof request;
    request.endpoint = endpoint.data();
    request.endpoint_size = endpoint.size();
    request.method = method.data();
    request.method_size = method.size();
    request.data = data.data();
    request.data_size = data.size();
    response_.struct_size = sizeof response_;
    code_ = backworks_plugin_process_endpoint_data(nullptr, &request, &response_);
  }
  ~Answer() { backworks_plugin_free_string(response_.data, response_.size); }
  Answer(const Answer &) = delete;
  Answer &operator=(const Answer &) = delete;

  const char *data() const {
    if (code_ != BACKWORKS_OK) {
      throw std::runtime_error("the plugin failed");
    }
    return response_.data;
  }
  size_t size() const { return response_.size; }

 private:
  backworks_response response_{};
  int32_t code_;
};
