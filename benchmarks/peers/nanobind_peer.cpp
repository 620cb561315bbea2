// SPDX-License-Identifier: MIT
//
// The plugin compiled into a Python module with nanobind: the reference for a plugin that is loaded at run time.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string_view.h>

#include <optional>

#include "compiled_in.hpp"

namespace nb = nanobind;

namespace {

/* Calls without the interpreter lock, and frees with it, as is usual for short functions. */
template <typename Result>
Result call(std::string_view endpoint, std::string_view method, std::string_view data) {
  std::optional<Answer> answer;
  {
    nb::gil_scoped_release release;
    answer.emplace(endpoint, method, data);
  }
  return Result(answer->data(), answer->size());
}

std::string_view view(const nb::bytes &data) {
  return {data.c_str(), data.size()};
}

}  // namespace

NB_MODULE(nanobind_peer, module) {
  module.def("text", &call<nb::str>);
  module.def("data", [](std::string_view endpoint, std::string_view method, const nb::bytes &data) {
    return call<nb::bytes>(endpoint, method, view(data));
  });
  // The minimum with nanobind: one argument, and the interpreter lock held.
  module.def("lean_text", [](std::string_view data) {
    size_t size = 0;
    char *answer = answer_echo(data.data(), data.size(), &size);
    nb::str result(answer, size);
    free(answer);
    return result;
  });
  module.def("lean_data", [](const nb::bytes &data) {
    size_t size = 0;
    char *answer = answer_echo(data.c_str(), data.size(), &size);
    nb::bytes result(answer, size);
    free(answer);
    return result;
  });
  module.def("hash", [](const nb::bytes &data) {
    size_t size = 0;
    char *answer;
    {
      std::string_view borrowed = view(data);
      nb::gil_scoped_release release;
      answer = answer_hash(borrowed.data(), borrowed.size(), &size);
    }
    nb::bytes result(answer, size);
    free(answer);
    return result;
  });
}
