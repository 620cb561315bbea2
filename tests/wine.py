"""The tests that fail under Wine: a pytest plugin, used by `make test-windows` only."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.listed import Listed

_COMPILERS = "gcc and clang are missing: Zig's compiler replaces them"
_CARGO = "Rust for Windows is missing: there is no cargo"
_TOOLCHAINS = "not run: there are no Windows programs of CMake, Go and Rust"
_ABORT = "abort() exits with code 3 instead of raising 0xC0000409"
_STACK = "a stack overflow hangs instead of raising 0xC00000FD"
_KILLED = "not run: when one of several listening processes dies, some new connections never get a response"
_JOB = "job objects do not enforce limits on memory or processes"
_MAKE = "make is the Linux program, which parses the colon in C:/ as part of a rule"

#: A test, a test with all its cases, or a pattern with * -> why it fails; see tests/listed.py.
CANNOT: Mapping[str, str] = {
    "tests/test_authoring.py::TestBuild::test_the_example": _MAKE,
    "tests/test_conformance.py::TestGood::test_weather[rust]": _CARGO,
    "tests/test_ffi_native.py::TestSources::test_no_warning": _COMPILERS,
    "tests/test_header.py::TestCompilers::test_no_warning": _COMPILERS,
    "tests/test_http_server.py::TestEnd::test_twice": "a process ended by Ctrl-C exits with code 0, not 0xC000013A",
    "tests/test_http_server.py::TestWorkers::test_metrics": _KILLED,
    "tests/test_http_server.py::TestWorkers::test_crash": _KILLED,
    "tests/test_kits.py": _TOOLCHAINS,
    "tests/test_packaging.py": "not run: the embeddable Python has no venv",
    "tests/test_platforms.py": "not run: cibuildwheel and the Python headers are missing",
    "tests/test_processes.py::TestStart::test_crash": _ABORT,
    "tests/test_processes.py::TestLog::test_flood": "not run: a write to a pipe takes almost a millisecond",
    "tests/test_projects.py": _TOOLCHAINS,
    "tests/test_resilience.py::TestHttp::test_crash": _ABORT,
    "tests/test_rust_sdk.py::test_cargo_finds_nothing": _CARGO,
    "tests/test_rust_sdk.py::test_example_answers": _CARGO,
    "tests/test_rust_sdk.py::test_example_has_no_manifest": _CARGO,
    "tests/test_rust_sdk.py::test_manifest_is_a_symbol": _CARGO,
    "tests/test_rust_sdk.py::test_manifest_is_in_its_section": _CARGO,
    "tests/test_rust_sdk.py::test_panic_stays_in_the_library": _CARGO,
    "tests/test_weather.py::*[rust*": _CARGO,
    "tests/test_weather.py::test_the_manifests_say_the_same": _CARGO,
    "tests/test_weather_fuzz.py::*": _CARGO,
    "tests/test_windows.py::TestJob::test_processes": _JOB,
    "tests/test_zoo.py::TestCalled::test_bite[pipes-aborts]": _ABORT,
    "tests/test_zoo.py::TestCalled::test_bite[pipes-freed_twice]": _ABORT,
    "tests/test_zoo.py::TestCalled::test_bite[pipes-throws]": _ABORT,
    "tests/test_zoo.py::TestCalled::test_bite[pipes-stack_overflow]": _STACK,
    "tests/test_zoo.py::TestCalled::test_bite[pipes-eats_memory]": _JOB,
    "tests/test_zoo.py::TestCalled::test_bite_at_start[pipes-crashes_in_constructor]": _ABORT,
    "tests/test_zoo.py::TestCalled::test_bite_at_start[pipes-crashes_in_init]": _ABORT,
    "tests/test_zoo.py::TestCalled::test_bite_at_end[pipes-crashes_in_shutdown]": _ABORT,
    "tests/test_zoo.py::test_crash_attributes": _ABORT,
    "tests/test_zoo.py::TestServed::test_bite[aborts]": _ABORT,
    "tests/test_zoo.py::TestServed::test_bite[freed_twice]": _ABORT,
    "tests/test_zoo.py::TestServed::test_bite[throws]": _ABORT,
    "tests/test_zoo.py::TestServed::test_bite[stack_overflow]": _STACK,
    "tests/test_zoo.py::TestServed::test_bite[eats_memory]": _JOB,
    "tests/test_zoo.py::TestServed::test_not_started[crashes_in_constructor]": _ABORT,
    "tests/test_zoo.py::TestServed::test_not_started[crashes_in_init]": _ABORT,
    "tests/test_zoo_rust.py::*": _CARGO,
}


def pytest_configure(config: pytest.Config) -> None:
    """Registers the list with pytest."""
    config.pluginmanager.register(Listed("Wine", "tests/wine.py", CANNOT))
