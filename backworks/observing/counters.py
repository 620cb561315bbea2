"""The numbers of calls, as they are counted and as they are told.

A :class:`Tally` counts for one thread alone, with plain integers and no lock: the server has one for each plugin. Calls
from a program's threads share one behind a lock. Whoever asks is told the sum of all.
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

#: Upper bounds in seconds: from a C function in this process to the longest that anybody waits.
BOUNDS = (1e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Histogram:
    """How long calls took.

    Attributes:
        bounds: Upper bounds in seconds.
        counts: How many calls took at most so long, and longer than the bound before; one more for those above all.
        seconds: The sum of all of them.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class WorkerMetrics:
    """One worker process.

    Attributes:
        pid: Its number.
        rss: Bytes of memory that it has in use; ``None`` where the system does not tell.
        pss: The same, with what it shares with others counted in parts; ``None`` where the system does not tell.
    """

    pid: int
    rss: int | None
    pss: int | None


@dataclass(frozen=True)
class PluginMetrics:
    """The numbers of one plugin, since the manager was made.

    Attributes:
        state: What it is doing: that of :attr:`backworks.Plugin.state`, or ``"failed"``.
        calls: How many calls are over.
        codes: How many of them ended with each code; only codes that have occurred.
        seconds: How long callers waited.
        in_flight: How many calls are being waited for.
        breaker: ``"closed"``, ``"open"`` or ``"half-open"``; ``None`` if it has no circuit breaker.
        restarts: How many worker processes took the place of one that had ended.
        workers: Its worker processes.
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
    """What one thread has counted of one plugin's calls."""

    __slots__ = ("buckets", "codes", "in_flight", "seconds")

    def __init__(self) -> None:
        self.in_flight = 0
        self.codes = [0] * len(Code)
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def done(self, code: Code, seconds: float) -> None:
        """Counts a call that is over."""
        self.codes[code] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: Tally) -> None:
        """Adds what another has counted."""
        self.in_flight += other.in_flight
        self.codes = [a + b for a, b in zip(self.codes, other.codes, strict=True)]
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds


class SharedTally(Tally):
    """What any number of threads have counted of one plugin's calls."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def begin(self) -> float:
        """Counts a call that begins; returns the time that :meth:`end` is given."""
        with self._lock:
            self.in_flight += 1
        return perf_counter()

    def end(self, began: float, error: BaseException | None = None) -> None:
        """Counts its end, with what it raised."""
        seconds = perf_counter() - began
        code = Code.OK if error is None else code_of_error(error)
        with self._lock:
            self.in_flight -= 1
            self.done(code, seconds)


class Counters:
    """The calls of all plugins. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, list[Tally]] = {}
        self._shared: dict[str, SharedTally] = {}

    def tally(self, plugin: str) -> Tally:
        """Makes a tally of a plugin's calls for one thread."""
        tally = Tally()
        with self._lock:
            self._tallies.setdefault(plugin, []).append(tally)
        return tally

    def shared(self, plugin: str) -> SharedTally:
        """Finds the tally of a plugin's calls for all threads."""
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
        """Adds up what was counted of a plugin."""
        total = Tally()
        with self._lock:
            for tally in self._tallies.get(plugin, ()):
                total.add(tally)
        return total

    def plugins(self) -> tuple[str, ...]:
        """Names the plugins of which something may have been counted."""
        with self._lock:
            return tuple(self._tallies)


def code_of_error(error: BaseException) -> Code:
    """Chooses the code under which a call is counted that ended with an exception."""
    if isinstance(error, PluginError):
        return error.code
    if isinstance(error, BackworksError):
        return Code.UNAVAILABLE
    return Code.INTERNAL if isinstance(error, Exception) else Code.CANCELLED
