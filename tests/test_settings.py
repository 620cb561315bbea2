"""How a plugin is run: one record, the same defaults wherever it is made, and a library that is looked at once."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from conftest import CompilePlugin

import backworks
from backworks import Breaker, Limits, PluginManager, Restart, Settings
from backworks.config import parse_config
from backworks.settings import ManagedOptions

ISOLATIONS = ["none", "thread", "process"]

#: Starts a plugin and prints how often its file was opened, and how often each of some functions was called.
COUNTING = """
import collections, json, sys
from backworks import PluginManager
wanted, library, config = ("resolve_library", "stage", "_copy", "prepare"), *sys.argv[1:]
counts = collections.Counter()
def audit(event, arguments):
    if event == "open":
        counts["open"] += str(arguments[0]) == library
def profile(frame, event, _):
    if event == "call" and "backworks" in frame.f_code.co_filename and frame.f_code.co_name in wanted:
        counts[frame.f_code.co_name] += 1
sys.addaudithook(audit)
sys.setprofile(profile)
manager = PluginManager.from_config(json.loads(config))
sys.setprofile(None)
answer = manager.process_endpoint_data("echo", "/", "GET", "x")
manager.close()
print(json.dumps([answer, counts]))
"""


def configured(**plugin: Any) -> Settings:
    """Returns the settings that a configuration with one plugin gives it."""
    return parse_config({"plugins": {"a": {"path": "a", **plugin}}}).plugins["a"].settings


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_one_set_of_defaults(isolation: Any) -> None:
    """A configuration and the arguments of a function come to the same record where neither says more."""
    assert configured(isolation=isolation) == Settings(isolation=isolation)


def test_default_isolation() -> None:
    """A configuration and a manager run a plugin in a process; ``load`` runs it in the calling thread."""
    assert configured() == Settings()
    assert Settings().isolation == "process"
    assert inspect.signature(PluginManager.load).parameters["isolation"].default == "process"
    assert inspect.signature(backworks.load).parameters["isolation"].default == "none"


def test_what_is_written() -> None:
    """What a configuration writes and what a program passes come to the same record."""
    written = configured(
        workers=3,
        timeout="2s",
        queue=5,
        breaker={"failures": 2},
        health_check=None,
        critical=False,
        restart={"initial": "1s"},
        limits={"memory": "64MiB"},
        environment=["TZ"],
        start_timeout="5s",
    )

    assert written == Settings(
        workers=3,
        timeout=2.0,
        queue=5,
        breaker=Breaker(failures=2),
        health_check=None,
        critical=False,
        restart=Restart(initial=1.0),
        limits=Limits(memory=64 << 20),
        environment=("TZ",),
        start_timeout=5.0,
    )


def test_what_depends_on_the_isolation() -> None:
    """Nothing can stop a call in the calling thread, so it has no timeout by default, and nothing in its way."""
    none, thread, process = (Settings(isolation=isolation) for isolation in ("none", "thread", "process"))

    assert (none.timeout, none.breaker) == (None, None)
    assert thread.timeout == process.timeout == 30
    assert thread.breaker == process.breaker == Breaker()
    assert (none.workers, thread.workers, process.workers) == (4, 4, 1)
    assert Settings(isolation="process", timeout=None, breaker=None) == configured(timeout=None, breaker=False)


def test_arguments() -> None:
    """The functions that load a plugin take every setting by its name and type."""
    hints = get_type_hints(Settings)
    del hints["isolation"]

    assert get_type_hints(ManagedOptions) == hints
    assert {each.name for each in fields(Settings)} == {"isolation", *hints}


def test_unknown_argument(compile_plugin: CompilePlugin) -> None:
    """A setting that there is not is a TypeError that names it."""
    with pytest.raises(TypeError, match="wrokers"):
        backworks.load(compile_plugin(), wrokers=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_learns_once(compile_plugin: CompilePlugin, isolation: str) -> None:
    """From a configuration to a running plugin its file is found, opened and copied once."""
    library = compile_plugin()
    config = {"plugins": {"echo": {"path": str(library.with_name("echo")), "isolation": isolation}}}
    command = [sys.executable, "-c", COUNTING, str(library), json.dumps(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    counts = dict.fromkeys(("open", "resolve_library", "stage", "_copy", "prepare"), 1)
    assert json.loads(done.stdout) == ["x", counts]
