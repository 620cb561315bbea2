"""How a plugin is supervised: what a configuration says of it, without the configuration."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Breaker", "Policy"]


@dataclass(frozen=True)
class Breaker:
    """When calls are refused because the ones before them have failed.

    Attributes:
        failures: How many calls in a row have to fail.
        window: Seconds in which all of them have to.
        open: Seconds for which calls are refused then.
        probes: How many calls are let in after that to see whether they succeed.
    """

    failures: int = 5
    window: float = 30.0
    open: float = 10.0
    probes: int = 1


@dataclass(frozen=True)
class Policy:
    """How one plugin is supervised, wherever it runs.

    Attributes:
        queue: How many calls may wait for a thread; ``None`` is no limit. With worker processes the options of these
            say it, and with isolation ``none`` the threads of the caller are the limit.
        breaker: When calls are refused; ``None`` is never.
        health_check: Seconds from one health check to the next; ``None`` is none.
    """

    queue: int | None = None
    breaker: Breaker | None = None
    health_check: float | None = None
