"""Fixtures for all tests: compilers that must be there, and tiny plugins built from C."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import absent
import pytest
from hypothesis import settings

from backworks import sdk

# No test is about how long one example takes, on a machine with much else to do.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")

# A shell has a command ignore Ctrl-C that it starts in the background, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent

# Zig makes each system's C library at its first use, for minutes: all tests, and what they start, share one.
os.environ.update(dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(ROOT / "build" / "zig-cache")))

#: How many times as long as elsewhere a short wait has to be here, for a process that an emulator runs to do anything.
PACE = float(os.environ.get("BACKWORKS_TEST_PACE", "1"))

#: Seconds after which a test that waits has failed. What it waits for is there long before, also where twenty other
#: processes want each processor; no test is about how soon.
PATIENCE = 300.0

#: The file name of a library called NAME on this system.
LIBRARY = {"win32": "{}.dll", "darwin": "lib{}.dylib"}.get(sys.platform, "lib{}.so")

#: A whole plugin, of which a test changes one part with compiler flags or text after it.
ECHO = """
#include <backworks_plugin.h>

#ifndef NAME
#define NAME "echo"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif

BACKWORKS_PLUGIN(NAME, VERSION, "description": "Answers what it was sent")
BACKWORKS_PLUGIN_FREE_STRING

struct backworks_plugin {
  const backworks_host *host;
};

int32_t backworks_plugin_init(const backworks_host *host, const char *config, size_t config_size,
                              backworks_plugin **out, backworks_response *error) {
  backworks_plugin *plugin = malloc(sizeof *plugin);
  (void)config;
  (void)config_size;
  if (plugin == NULL) {
    return backworks_fail(error, BACKWORKS_RESOURCE_EXHAUSTED, "no memory");
  }
  plugin->host = host;
  *out = plugin;
  return BACKWORKS_OK;
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  (void)plugin;
  return backworks_answer(response, request->data, request->data_size);
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  free(plugin);
  return BACKWORKS_OK;
}
"""

CompilePlugin = Callable[..., Path]


def missing(tool: str) -> NoReturn:
    """Skips the test for want of a tool, or fails it where all tools are promised.

    Args:
        tool: Its name in the table of absent.py, or a message that begins with "NAME is not installed".
    """
    text = f"{tool.partition(' is not installed')[0].partition(' (')[0]} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the end which tools were missing, with or without pytest-xdist."""
    if lines := absent.table(terminalreporter.getreports("skipped")):
        terminalreporter.section("left out for want of a tool")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session", name="cc")
def _cc() -> list[str]:
    """The command of this machine's C compiler: ``$CC``, or the first that is installed."""
    if command := shlex.split(os.environ.get("CC", "")):
        return command
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    missing("a C compiler")


@pytest.fixture(scope="session", name="compile_plugin")
def _compile_plugin(cc: list[str], tmp_path_factory: pytest.TempPathFactory) -> CompilePlugin:
    """Compiles a plugin from C source: ``compile_plugin(source, name, flags) -> path``."""
    built: dict[tuple[str, str, tuple[str, ...]], Path] = {}

    def compile_plugin(source: str = ECHO, name: str = "echo", flags: Sequence[str] = ()) -> Path:
        key = (source, name, tuple(flags))
        if key not in built:
            directory = tmp_path_factory.mktemp(name)
            source_file = directory / f"{name}.c"
            source_file.write_text(source, encoding="utf-8")
            library = directory / LIBRARY.format(name)
            command = [*cc, "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-shared"]
            command += [f"-I{sdk.path('c')}", str(source_file), "-o", str(library), *flags]
            if sys.platform != "win32":
                command.append("-fPIC")
            subprocess.run(command, check=True)
            built[key] = library
        return built[key]

    return compile_plugin
