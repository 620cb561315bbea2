"""What qemu's user mode cannot do, test by test: a plugin of pytest, for `make test-aarch64` alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.listed import Listed

_LIMITS = "setrlimit of RLIMIT_DATA, RLIMIT_AS and RLIMIT_STACK does nothing, and says that it did"
_ORPHANS = (
    "not run: prctl refuses PR_SET_CHILD_SUBREAPER, so that the worker does not find the orphans of its plugin, and "
    "what the test starts would stay"
)
_MADVISE = "madvise does nothing for MADV_REMOVE, and says that it did"
_OWN = "the memory and the threads of a process are those of qemu, which keeps what it has translated"
_SANITIZERS = "not run: Zig has no AddressSanitizer, and takes -fsanitize=address for nothing"
_RACES = "not run: a program with ThreadSanitizer hangs where it reserves its address space, before its main()"
_GCC = "not run: gcc is this machine's own, and compiles for another processor"
_NM = "nm is this machine's own, and does not find the libraries of the emulated system"
_CARGO = "not run: there is no Rust for aarch64: cargo is this machine's own"

#: The test, or all cases of it, or all that * stands for -> why it fails; see tests/listed.py.
CANNOT: Mapping[str, str] = {
    "tests/test_ffi_native.py::TestSources::test_no_warning[gcc*": _GCC,
    "tests/test_header.py::TestCompilers::test_no_warning[g*": _GCC,
    "tests/test_hostile_workers.py": _ORPHANS,
    "tests/test_inspection.py::test_an_executable_is_no_plugin": "a program is a script there, which has qemu run it",
    "tests/test_inspection.py::test_the_exports_of_the_systems_libraries_are_those_that_nm_lists": _NM,
    "tests/test_mailbox.py::TestCalls::test_pages_are_given_back": _MADVISE,
    "tests/test_mailbox.py::TestHostile::test_sanitizers": _SANITIZERS,
    "tests/test_mailbox.py::test_resources": f"not run: {_OWN}",
    "tests/test_threads.py::TestPool::test_sanitizers[address,undefined]": _SANITIZERS,
    "tests/test_threads.py::TestPool::test_sanitizers[thread]": _RACES,
    "tests/test_weather.py::*[rust*": _CARGO,
    "tests/test_weather.py::test_the_manifests_say_the_same": _CARGO,
    "tests/test_worker_process.py::TestSurroundings::test_threads": _OWN,
    "tests/test_worker_process.py::TestEnd::test_children_after_shutdown": _ORPHANS,
    "tests/test_worker_process.py::TestEnd::test_host_closes_the_pipe": _ORPHANS,
    "tests/test_worker_process.py::TestEnd::test_host_is_killed": _ORPHANS,
    "tests/test_worker_process.py::TestLimits::test_memory": _LIMITS,
    "tests/test_worker_process.py::TestLimits::test_request_beyond_memory": _LIMITS,
    "tests/test_worker_process.py::TestLimits::test_too_little": _LIMITS,
    "tests/test_worker_process.py::TestCost::test_memory": _OWN,
    "tests/test_worker_process.py::TestCost::test_start": "an emulated worker takes 0.1 s to start, and may take 0.01",
    "tests/test_worker_process.py::TestSources::test_no_warning[gcc]": _GCC,
    "tests/test_zoo.py::TestCalled::test_bite[mailbox-eats_memory]": _LIMITS,
    "tests/test_zoo.py::TestCalled::test_bite[pipes-eats_memory]": _LIMITS,
    "tests/test_zoo.py::TestCalled::test_bite[mailbox-leaves_daemon]": _ORPHANS,
    "tests/test_zoo.py::TestCalled::test_bite[pipes-leaves_daemon]": _ORPHANS,
    "tests/test_zoo.py::TestServed::test_bite[eats_memory]": _LIMITS,
    "tests/test_zoo.py::TestServed::test_bite[leaves_daemon]": _ORPHANS,
    "tests/test_zoo.py::test_host_killed": _ORPHANS,
    "tests/test_zoo.py::test_crashes_do_not_leak": _OWN,
}


def pytest_configure(config: pytest.Config) -> None:
    """Has pytest expect what is on the list."""
    config.pluginmanager.register(Listed("qemu", "tests/qemu.py", CANNOT))
