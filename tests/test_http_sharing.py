"""Numbers of several processes, each with a place of its own."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import pytest

from backworks import Code, PluginManager
from backworks.http.metrics import Metrics
from backworks.http.sharing import Shared


def counting(directory: Path, place: int, calls: int, *, inside: int = 0) -> Metrics:
    """Makes what counts in one process, lets it count, and lets the others know."""
    metrics = Metrics()
    numbers = metrics.of_plugin("echo")
    metrics.share_by(Shared(str(directory), place))
    for _ in range(calls):
        numbers.done(Code.OK, 0.5)
        metrics.answered("/echo", "GET", 200)
    numbers.in_flight += inside
    metrics.share()
    return metrics


def read(metrics: Metrics) -> dict[str, float]:
    """Reads what Prometheus would, as far as it says how many."""
    with PluginManager.from_config({}) as manager:
        text = metrics.exposition(manager.metrics(), "")[0].decode()
    found = re.findall(
        r"^backworks_(calls_total|calls_in_flight|call_seconds_sum|http_requests_total){.*} (.+)$", text, re.MULTILINE
    )
    return {name: float(value) for name, value in found}


def numbers(calls: int, inside: int) -> dict[str, float]:
    """Tells what is expected."""
    return {
        "calls_total": calls,
        "call_seconds_sum": calls / 2,
        "calls_in_flight": inside,
        "http_requests_total": calls,
    }


class TestShared:
    """Each process tells the numbers of all."""

    def test_sum(self, tmp_path: Path) -> None:
        """The numbers of all processes are added up, and those of the one that is asked are what it has now."""
        one = counting(tmp_path, 0, 2, inside=1)
        two = counting(tmp_path, 1, 3, inside=1)
        two.of_plugin("echo").in_flight = 0

        assert read(one) == numbers(5, 2)
        assert read(two) == numbers(5, 1)

    def test_replaced(self, tmp_path: Path) -> None:
        """A process that takes the place of another goes on from what that one had counted, and not from its calls."""
        counting(tmp_path, 0, 2, inside=1)
        other = counting(tmp_path, 1, 3)
        again = counting(tmp_path, 0, 4)

        assert read(again) == read(other) == numbers(9, 0)

    def test_alone(self) -> None:
        """One process shares nothing."""
        metrics = Metrics()
        metrics.of_plugin("echo").done(Code.OK, 0.5)
        metrics.answered("/echo", "GET", 200)
        metrics.share()

        assert read(metrics) == numbers(1, 0)

    def test_directory_vanishes(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What cannot be written is told once; the process goes on with its own numbers."""
        directory = tmp_path / "shared"
        directory.mkdir()
        metrics = counting(directory, 0, 2)
        shutil.rmtree(directory)
        with caplog.at_level(logging.ERROR, "backworks.http"):
            metrics.share()
            metrics.share()

        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("/metrics of the other processes lacks the numbers of this one: ")
        assert read(metrics) == numbers(2, 0)
