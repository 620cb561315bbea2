// SPDX-License-Identifier: MIT
//
// The plugin compiled into a Python module with pybind11.

#include <pybind11/pybind11.h>

#include <optional>

#include "compiled_in.hpp"

namespace py = pybind11;

namespace {

template <typename Result>
Result call(std::string_view endpoint, std::string_view method, std::string_view data) {
  std::optional<Answer> answer;
  {
    py::gil_scoped_release release;
    answer.emplace(endpoint, method, data);
  }
  return Result(answer->data(), answer->size());
}

}  // namespace

PYBIND11_MODULE(pybind11_peer, module) {
  module.def("text", &call<py::str>);
  module.def("data", [](std::string_view endpoint, std::string_view method, const py::bytes &data) {
    return call<py::bytes>(endpoint, method, static_cast<std::string_view>(data));
  });
}
