"""Counts calls, and provides the totals.

A :class:`Tally` counts for a single thread, with plain integers and no lock; the server has one for each plugin. Calls
from a program's own threads share one tally, which a lock protects. The total is the sum of all tallies.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from backworks.errors import BackworksError, Code, PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BOUNDS",
    "Counters",
    "Histogram",
    "PluginMetrics",
    "SharedTally",
    "Tally",
    "WorkerMetrics",
    "code_of_error",
]

#: Upper bounds in seconds, from a C function in this process to the longest wait.
BOUNDS = (1e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Histogram:
    """A histogram of call durations.

    Attributes:
        bounds: Upper bounds in seconds.
        counts: The number of calls in each bucket, and last, the number above all bounds.
        seconds: The sum of all durations.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class WorkerMetrics:
    """One worker process.

    Attributes:
        pid: The process id.
        rss: Resident memory in bytes; ``None`` if the system does not report it.
        pss: Proportional memory in bytes, which divides shared pages among their users; ``None`` if not reported.
    """

    pid: int
    rss: int | None
    pss: int | None


@dataclass(frozen=True)
class PluginMetrics:
    """The metrics of one plugin since the manager was created.

    Attributes:
        state: The value of :attr:`backworks.Plugin.state`, or ``"failed"``.
        calls: The number of finished calls.
        codes: The number of finished calls by code; only codes that occurred.
        seconds: How long callers waited.
        in_flight: The number of calls in flight.
        breaker: ``"closed"``, ``"open"`` or ``"half-open"``; ``None`` without a circuit breaker.
        restarts: How many worker processes replaced one that had exited.
        workers: The plugin's worker processes.
    """

    state: str
    calls: int
    codes: Mapping[Code, int]
    seconds: Histogram
    in_flight: int
    breaker: str | None
    restarts: int
    workers: tuple[WorkerMetrics, ...]


class Tally:
    """Counts one plugin's calls for one thread."""

    __slots__ = ("buckets", "codes", "in_flight", "seconds")

    def __init__(self) -> None:
        self.in_flight = 0
        self.codes = [0] * len(Code)
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def done(self, code: Code, seconds: float) -> None:
        """Counts a finished call."""
        self.codes[code] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: Tally) -> None:
        """Adds the counts of another tally."""
        self.in_flight += other.in_flight
        self.codes = [a + b for a, b in zip(self.codes, other.codes, strict=True)]
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds


class SharedTally(Tally):
    """Counts one plugin's calls for any number of threads."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def begin(self) -> float:
        """Counts the start of a call; returns the time to pass to :meth:`end`."""
        with self._lock:
            self.in_flight += 1
        return perf_counter()

    def end(self, began: float, error: BaseException | None = None) -> None:
        """Counts the end of a call, and the error that it raised."""
        seconds = perf_counter() - began
        code = Code.OK if error is None else code_of_error(error)
        with self._lock:
            self.in_flight -= 1
            self.done(code, seconds)


class Counters:
    """Counts the calls of all plugins. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, list[Tally]] = {}
        self._shared: dict[str, SharedTally] = {}

    def tally(self, plugin: str) -> Tally:
        """Returns a new tally of a plugin's calls for one thread."""
        tally = Tally()
        with self._lock:
            self._tallies.setdefault(plugin, []).append(tally)
        return tally

    def shared(self, plugin: str) -> SharedTally:
        """Returns the tally of a plugin's calls that all threads share."""
        try:
            return self._shared[plugin]
        except KeyError:
            with self._lock:
                tally = self._shared.setdefault(plugin, SharedTally())
                known = self._tallies.setdefault(plugin, [])
                if tally not in known:
                    known.append(tally)
            return tally

    def total(self, plugin: str) -> Tally:
        """Returns the sum of a plugin's tallies."""
        total = Tally()
        with self._lock:
            for tally in self._tallies.get(plugin, ()):
                total.add(tally)
        return total

    def plugins(self) -> tuple[str, ...]:
        """Returns the names of the plugins that have a tally."""
        with self._lock:
            return tuple(self._tallies)


def code_of_error(error: BaseException) -> Code:
    """Returns the code that a call with an exception is counted under."""
    if isinstance(error, PluginError):
        return error.code
    if isinstance(error, BackworksError):
        return Code.UNAVAILABLE
    return Code.INTERNAL if isinstance(error, Exception) else Code.CANCELLED
