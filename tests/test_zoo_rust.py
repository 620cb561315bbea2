"""A Rust plugin that panics, in a worker process: once, which the kit catches, and twice at a time, which ends it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from test_rust_sdk import Build, _build, _cargo
from zookeeper import ZOO

import backworks
from backworks import Code, PluginCrashed, PluginError

# Another module's fixtures.
build, cargo = _build, _cargo


@pytest.fixture(scope="module", name="panics")
def _panics(build: Build) -> Path:
    return build((ZOO / "panics.rs").read_text(encoding="utf-8"), "2021")


def test_panic_is_an_answer(panics: Path) -> None:
    """A panic is INTERNAL with its words; the worker lives on, and its stderr is in the log."""
    with backworks.load(panics, isolation="process") as plugin:
        with pytest.raises(PluginError, match="panicked: told to") as caught:
            plugin.process_endpoint_data("/", data="bite")

        assert type(caught.value) is PluginError
        assert caught.value.code is Code.INTERNAL
        assert plugin.process_endpoint_data("/", data="well") == "well"


def test_panic_while_panicking_is_a_crash(panics: Path) -> None:
    """A panic in the middle of another aborts the worker; the error has its last words, and the next call is served."""
    with backworks.load(panics, isolation="process") as plugin:
        with pytest.raises(PluginCrashed) as caught:
            plugin.process_endpoint_data("/", data="bite twice")

        assert plugin.process_endpoint_data("/", data="well") == "well"
        if sys.platform != "win32":
            assert caught.value.signal == "SIGABRT"
        assert "aborting" in caught.value.stderr[-1]
