"""The metrics of one plugin, from its call counts and its current state."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from backworks.errors import Code
from backworks.observing.counters import BOUNDS, Histogram, PluginMetrics, Tally, WorkerMetrics
from backworks.observing.memory import memory_of

if TYPE_CHECKING:
    from backworks.plugin import Plugin

__all__ = ["observe", "restarts_of"]


def observe(plugin: Plugin | None, tally: Tally) -> PluginMetrics:
    """Returns the metrics of a plugin.

    Args:
        plugin: The plugin, or ``None`` if it did not start.
        tally: The counts of its calls.
    """
    codes = {code: tally.codes[code] for code in Code if tally.codes[code]}
    seconds = Histogram(BOUNDS, tuple(tally.buckets), tally.seconds)
    runner = None if plugin is None else plugin.runner
    return PluginMetrics(
        "failed" if plugin is None else plugin.state,
        sum(codes.values()),
        MappingProxyType(codes),
        seconds,
        tally.in_flight,
        None if plugin is None else plugin.breaker,
        0 if plugin is None else restarts_of(plugin),
        tuple(WorkerMetrics(pid, *memory_of(pid)) for pid in getattr(runner, "pids", ())),
    )


def restarts_of(plugin: Plugin) -> int:
    """Returns how many worker processes replaced one that had exited."""
    restarts: int = getattr(plugin.runner, "restarts", 0)
    return restarts
