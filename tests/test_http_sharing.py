"""Counters shared by several processes."""

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
    """Creates one process's metrics, counts, and publishes the counters."""
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
    """Reads the counters as Prometheus would."""
    with PluginManager.from_config({}) as manager:
        text = metrics.exposition(manager.metrics(), "")[0].decode()
    found = re.findall(
        r"^backworks_(calls_total|calls_in_flight|call_seconds_sum|http_requests_total){.*} (.+)$", text, re.MULTILINE
    )
    return {name: float(value) for name, value in found}


def numbers(calls: int, inside: int) -> dict[str, float]:
    """Returns the expected counters."""
    return {
        "calls_total": calls,
        "call_seconds_sum": calls / 2,
        "calls_in_flight": inside,
        "http_requests_total": calls,
    }


class TestShared:
    """Each process reports the counters of all."""

    def test_sum(self, tmp_path: Path) -> None:
        """The counters of all processes are added, with the current ones of the process that reports."""
        one = counting(tmp_path, 0, 2, inside=1)
        two = counting(tmp_path, 1, 3, inside=1)
        two.of_plugin("echo").in_flight = 0

        assert read(one) == numbers(5, 2)
        assert read(two) == numbers(5, 1)

    def test_replaced(self, tmp_path: Path) -> None:
        """A replacement continues from its predecessor's counters, without its calls in flight."""
        counting(tmp_path, 0, 2, inside=1)
        other = counting(tmp_path, 1, 3)
        again = counting(tmp_path, 0, 4)

        assert read(again) == read(other) == numbers(9, 0)

    def test_alone(self) -> None:
        """A single process shares nothing."""
        metrics = Metrics()
        metrics.of_plugin("echo").done(Code.OK, 0.5)
        metrics.answered("/echo", "GET", 200)
        metrics.share()

        assert read(metrics) == numbers(1, 0)

    def test_directory_vanishes(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A failed write is logged once, and the process continues with its own counters."""
        directory = tmp_path / "shared"
        directory.mkdir()
        metrics = counting(directory, 0, 2)
        shutil.rmtree(directory)
        with caplog.at_level(logging.ERROR, "backworks.http"):
            metrics.share()
            metrics.share()

        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("cannot share counters, so /metrics of other processes will miss them: ")
        assert read(metrics) == numbers(2, 0)
