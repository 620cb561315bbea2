"""The request to measure, and the figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Latency", "LeftOut", "Measured", "Memory", "Request", "Throughput"]


@dataclass(frozen=True)
class Request:
    """The request that is repeated.

    Attributes:
        endpoint: The endpoint.
        method: The method, in upper case.
        data: The data.
        config: The plugin's configuration.
    """

    endpoint: str = "/"
    method: str = "GET"
    data: bytes = b""
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """How long a call takes, with one call at a time. Each is timed separately, minus the time to read the clock.

    Attributes:
        calls: The number of calls.
        minimum_ns: Nanoseconds of the fastest call.
        median_ns: The median, in nanoseconds.
        p99_ns: The 99th percentile, in nanoseconds.
        clock_ns: The time to read the clock, subtracted from each call.
    """

    calls: int
    minimum_ns: int
    median_ns: int
    p99_ns: int
    clock_ns: int

    @classmethod
    def of(cls, counts: Mapping[int, int], clock_ns: int) -> Latency:
        """Computes the figures from a histogram.

        Args:
            counts: Nanoseconds -> number of calls with that duration, clock included; not empty.
            clock_ns: The time to read the clock.
        """
        calls = sum(counts.values())
        times = sorted(counts)

        def quantile(share: float) -> int:
            rank = share * calls
            seen = 0
            for time in times:
                seen += counts[time]
                if seen >= rank:
                    break
            return max(time - clock_ns, 0)

        return cls(calls, max(times[0] - clock_ns, 0), quantile(0.5), quantile(0.99), clock_ns)


@dataclass(frozen=True)
class Throughput:
    """How many calls are answered when several threads make calls as fast as they can.

    Attributes:
        threads: The number of calling threads. The plugin had as many workers.
        calls: The number of calls by all threads.
        seconds: The duration.
    """

    threads: int
    calls: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Calls per second of all threads together."""
        return self.calls / self.seconds


@dataclass(frozen=True)
class Memory:
    """The plugin's memory after the calls of :class:`Latency`; ``None`` if the system does not report it.

    Attributes:
        of: ``"worker"``: the size of the worker process. ``"host"``: the growth of the host process since just before
            the plugin was loaded.
        rss: Bytes of resident memory.
        pss: Bytes of proportional memory, which divides shared pages among their users.
    """

    of: str
    rss: int | None
    pss: int | None = None


@dataclass(frozen=True)
class Measured:
    """The figures of one isolation.

    Attributes:
        isolation: ``"process"``, ``"thread"`` or ``"none"``.
        answered: The size of one answer, in bytes.
        latency, throughput, memory: The figures.
    """

    isolation: str
    answered: int
    latency: Latency
    throughput: tuple[Throughput, ...]
    memory: Memory


@dataclass(frozen=True)
class LeftOut:
    """An isolation that is not measured.

    Attributes:
        isolation: The isolation.
        reason: Why it is not measured.
    """

    isolation: str
    reason: str
