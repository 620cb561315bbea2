"""How a plugin runs: one record with the defaults for every way to load a plugin.

A configuration and the arguments of :func:`backworks.load` both become a :class:`Settings`. The two differ in one
default: a configuration runs a plugin in a worker process, because a server must survive its plugins;
:func:`backworks.load` runs it in the calling thread, because a program that loads a library expects a function call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

__all__ = ["Breaker", "Isolation", "Limits", "ManagedOptions", "Options", "Restart", "Settings", "defaults_of"]

#: Where a plugin's calls run: in the calling thread, in threads of the host, or in worker processes.
Isolation = Literal["none", "thread", "process"]


@dataclass(frozen=True)
class Breaker:
    """When to reject calls because previous ones failed.

    Attributes:
        failures: How many consecutive calls must fail.
        window: The number of seconds within which all these calls must fail.
        open: How many seconds to reject calls after that.
        probes: How many trial calls then run; if all succeed, the circuit breaker closes.
    """

    failures: int = 5
    window: float = 30.0
    open: float = 10.0
    probes: int = 1


@dataclass(frozen=True)
class Restart:
    """How the host replaces worker processes that have ended.

    Attributes:
        initial: The delay before the second start in a row after failures, in seconds; the first is immediate.
        maximum: The longest delay between two starts, in seconds. Starts go on at this delay until one succeeds.
    """

    initial: float = 0.1
    maximum: float = 30.0


@dataclass(frozen=True)
class Limits:
    """The resource limits of one worker process; ``None`` means no limit. A platform enforces those that it supports.

    Attributes:
        memory: The memory of the process in bytes.
        cpu_time: The processor time over the lifetime of the process, in seconds.
        open_files: How many descriptors may be open.
        processes: How many processes and threads the plugin may start.
        output: The size of one response in bytes; neither the worker sends nor the host accepts a larger one.
    """

    memory: int | None = None
    cpu_time: int | None = None
    open_files: int | None = None
    processes: int | None = None
    output: int = 64 << 20


class Defaults(NamedTuple):
    """The defaults that depend on the isolation."""

    workers: int
    timeout: float | None
    breaker: Breaker | None


def defaults_of(isolation: str) -> Defaults:
    """Returns the defaults that depend on the isolation.

    With ``none`` there is no timeout, because the host cannot stop the call, and no breaker, because the caller sees
    every failure.
    """
    if isolation == "none":
        return Defaults(workers=4, timeout=None, breaker=None)
    return Defaults(workers=1 if isolation == "process" else 4, timeout=30.0, breaker=Breaker())


#: Marks a default that :func:`defaults_of` supplies.
_DEPENDS: Any = ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one plugin runs.

    Attributes:
        isolation: Where calls run: ``"none"``, in the calling thread; ``"thread"``, in worker threads of the host;
            ``"process"``, in worker processes.
        workers: How many calls run at the same time, each in its own thread or process; by default 4 threads or 1
            process.
        timeout: How many seconds a call may take, or ``None`` for no limit; by default 30, and no limit with
            ``"none"``.
        breaker: When to reject calls, or ``None`` for never, which is the default with ``"none"``.
        queue: How many calls may wait for a worker. With ``"none"`` calls never wait.
        health_check: The interval between health checks in seconds, or ``None`` for no periodic checks.
        critical: Whether the host needs the plugin to start and to be ready.
        restart: How the host replaces worker processes that have ended.
        limits: The resource limits of one worker process.
        environment: The names of the host's environment variables that worker processes receive.
        start_timeout: How many seconds a worker process may take to open and initialise the plugin.

    Raises:
        ValueError: The isolation or the number of workers is not valid.
    """

    isolation: Isolation = "process"
    workers: int = _DEPENDS
    timeout: float | None = _DEPENDS
    breaker: Breaker | None = _DEPENDS
    queue: int = 64
    health_check: float | None = 10.0
    critical: bool = True
    restart: Restart = Restart()
    limits: Limits = Limits()
    environment: tuple[str, ...] = ()
    start_timeout: float = 10.0

    def __post_init__(self) -> None:
        """Fills in the defaults that depend on the isolation, and checks the values."""
        if self.isolation not in ("none", "thread", "process"):
            raise ValueError(f"isolation must be 'none', 'thread' or 'process', not {self.isolation!r}")
        for name, value in defaults_of(self.isolation)._asdict().items():
            if getattr(self, name) is _DEPENDS:
                object.__setattr__(self, name, value)  # the dataclass is frozen
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")


class Options(TypedDict, total=False):
    """The keyword arguments of :func:`backworks.load`; see :class:`Settings`."""

    workers: int
    timeout: float | None
    breaker: Breaker | None
    queue: int
    restart: Restart
    limits: Limits
    environment: tuple[str, ...]
    start_timeout: float


class ManagedOptions(Options, total=False):
    """The keyword arguments of :class:`backworks.PluginManager`, which include those of :func:`backworks.load`."""

    health_check: float | None
    critical: bool
