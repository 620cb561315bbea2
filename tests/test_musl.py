"""The worker and a plugin for musl, the C library of Alpine Linux: built with Zig, and run by Debian's package musl."""

from __future__ import annotations

import importlib.util
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import missing
from sources import WORKER

if sys.platform != "linux":
    pytest.skip("musl is for Linux", allow_module_level=True)

import worker_driver
from cross import cross_compile
from worker_driver import READY, SHUTDOWN, Worker

from backworks import sdk
from backworks.loading.inspection import inspect_library

ROOT = Path(__file__).resolve().parent.parent
TARGET = f"{platform.machine()}-linux-musl"
#: The loader of programs for musl, as Zig writes it into them.
LOADER = Path(f"/lib/ld-musl-{platform.machine()}.so.1")

#: A plugin that says which C library it was built with, and dies if it is told to.
PLUGIN = r"""
#include <backworks_plugin.h>
#include <features.h>

#ifdef __GLIBC__
#define LIBRARY "glibc"
#else
#define LIBRARY "musl"
#endif

BACKWORKS_PLUGIN("musl", "1.0.0", "description": "Says which C library it was built with")
BACKWORKS_PLUGIN_FREE_STRING

struct backworks_plugin { const backworks_host *host; };
static backworks_plugin plugin;

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  (void)config;
  (void)config_size;
  (void)error;
  plugin.host = host;
  *out = &plugin;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *self, const backworks_request *request,
                                               backworks_response *response) {
  if (request->endpoint_size > 0) {
    abort();
  }
  backworks_log(self->host, BACKWORKS_INFO, "called");
  return backworks_answer(response, LIBRARY, sizeof LIBRARY - 1);
}

int32_t backworks_plugin_shutdown(backworks_plugin *self) {
  (void)self;
  return BACKWORKS_OK;
}
"""

# Zig makes musl first, which takes it a minute, and keeps it.


@pytest.fixture(scope="module", name="program")
def _program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker, linked to musl dynamically: a static one could not open a library."""
    if importlib.util.find_spec("ziglang") is None:
        missing("the Python package ziglang")
    if not LOADER.exists():
        missing("musl")
    program = tmp_path_factory.mktemp("musl") / "backworks-worker"
    sources = [path for path in WORKER if path.stem != "platform_windows"]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", TARGET, "-dynamic", "-std=c11", "-O2"]
    command += ["-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        [*command, f"-I{sdk.path('c')}", *map(str, sources), "-o", str(program)],
        check=True,
    )
    return program


@pytest.fixture(name="worker")
def _worker(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """That worker, and the plugin for it beside it, not yet started."""
    (tmp_path / "plugin.so").write_bytes(cross_compile(TARGET, source=PLUGIN))
    monkeypatch.setattr(worker_driver, "PROGRAM", str(program))
    return Worker(cwd=tmp_path)


def test_answers(worker: Worker, tmp_path: Path) -> None:
    """It starts the plugin, answers and logs over its pipes, and ends with 0."""
    with worker:
        assert worker.start(tmp_path / "plugin.so")[0] == READY
        assert Path(f"/proc/{worker.process.pid}/maps").read_text().count(str(LOADER.resolve())) > 0
        assert worker.data(b"") == b"musl"
        assert worker.data(b"") == b"musl"
        worker.ask(SHUTDOWN)
        assert worker.wait() == 0
        assert [text for _, text in worker.records()] == [b"called", b"called"]


def test_crash(worker: Worker, tmp_path: Path) -> None:
    """A plugin that aborts ends it with the signal, as it does with other C libraries."""
    with worker:
        worker.ready(tmp_path / "plugin.so")
        worker.send(worker_driver.CALL, worker_driver.call(b"abort"))
        assert worker.replies.read() is None
        assert worker.wait() == -signal.SIGABRT


def test_inspected(tmp_path: Path) -> None:
    """What is built for musl is read as what is built for any Linux."""
    library = tmp_path / "plugin.so"
    library.write_bytes(cross_compile(TARGET, source=PLUGIN))

    info = inspect_library(library)

    assert (info.system, *info.architectures) == ("linux", platform.machine())
    assert info.manifest is not None
    assert info.manifest["name"] == "musl"
