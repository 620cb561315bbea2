"""What is measured, and what the figures are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Latency", "LeftOut", "Measured", "Memory", "Request", "Throughput"]


@dataclass(frozen=True)
class Request:
    """The one request that is made over and over.

    Attributes:
        endpoint: The endpoint.
        method: The method, in upper case.
        data: The data.
        config: The plugin's own configuration.
    """

    endpoint: str = "/"
    method: str = "GET"
    data: bytes = b""
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """How long a call takes, with one call at a time. Each was timed alone; the clock's own time is taken off.

    Attributes:
        calls: How many there were.
        minimum_ns: Nanoseconds of the fastest.
        median_ns: As many calls took longer as took less.
        p99_ns: 99 of 100 calls took no longer.
        clock_ns: What was taken off each.
    """

    calls: int
    minimum_ns: int
    median_ns: int
    p99_ns: int
    clock_ns: int

    @classmethod
    def of(cls, counts: Mapping[int, int], clock_ns: int) -> Latency:
        """Sums up how often each time was seen.

        Args:
            counts: Nanoseconds -> calls that took so long, the clock included; not empty.
            clock_ns: What the clock takes.
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
    """How many calls are answered when several threads make them, each as fast as it can.

    Attributes:
        threads: How many threads called. The plugin had as many workers.
        calls: How many calls all of them made.
        seconds: In what time.
    """

    threads: int
    calls: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Calls per second, of all threads together."""
        return self.calls / self.seconds


@dataclass(frozen=True)
class Memory:
    """What the plugin takes, after the calls of :class:`Latency`; ``None`` where the system does not tell.

    Attributes:
        of: ``"worker"``: all memory of the worker process. ``"host"``: what the host's process has grown by since the
            plugin was loaded into it.
        rss: Bytes of resident memory.
        pss: The same, but of what a worker shares with other processes only its share.
    """

    of: str
    rss: int | None
    pss: int | None = None


@dataclass(frozen=True)
class Measured:
    """The figures of one isolation.

    Attributes:
        isolation: ``"process"``, ``"thread"`` or ``"none"``.
        answered: Bytes of one answer.
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
        isolation: Which one.
        reason: Why not, in words.
    """

    isolation: str
    reason: str
