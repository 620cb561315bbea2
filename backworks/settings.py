"""How a plugin is run: one record, and the only defaults, wherever a plugin is loaded.

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
    """When calls are refused because the ones before them have failed.

    Attributes:
        failures: How many calls in a row must fail.
        window: Seconds within which all of them must fail.
        open: Seconds for which calls are then refused.
        probes: How many calls are let through after that, to see whether they succeed.
    """

    failures: int = 5
    window: float = 30.0
    open: float = 10.0
    probes: int = 1


@dataclass(frozen=True)
class Restart:
    """How worker processes that have ended are replaced.

    Attributes:
        initial: Seconds to wait before the second start in a row; the first is immediate.
        maximum: The longest wait between two starts, in seconds.
        give_up_after: How many starts in a row may fail before the plugin is stopped.
    """

    initial: float = 0.1
    maximum: float = 30.0
    give_up_after: int = 5


@dataclass(frozen=True)
class Limits:
    """What one worker process may use; ``None`` is no limit. The system enforces those that it can.

    Attributes:
        memory: Bytes of memory.
        cpu_time: Seconds of processor time over the life of the process.
        open_files: How many descriptors may be open.
        processes: How many processes and threads the plugin may start.
        output: Bytes of one response; the worker refuses to send more, and the host to accept more.
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

    With ``none`` there is no timeout, because nothing can stop the call, and no breaker, because the
    caller sees every failure itself.
    """
    if isolation == "none":
        return Defaults(workers=4, timeout=None, breaker=None)
    return Defaults(workers=1 if isolation == "process" else 4, timeout=30.0, breaker=Breaker())


#: Stands for "what :func:`defaults_of` returns".
_DEPENDS: Any = ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one plugin is run.

    Attributes:
        isolation: ``"none"``: calls run in the calling thread. ``"thread"``: in threads of the host. ``"process"``: in
            worker processes.
        workers: How many calls run at a time, each in its own thread or process; 4 threads or 1 process by default.
        timeout: Seconds that a call may take, or ``None``; 30 by default, and no limit with ``"none"``.
        breaker: When calls are refused, or ``None`` for never, which is the default with ``"none"``.
        queue: How many calls may wait for a worker. With ``"none"`` nothing waits.
        health_check: Seconds from one health check to the next, or ``None`` for no checks.
        critical: Whether the host fails to start, or is not ready, when the plugin does not run.
        restart: How worker processes that have ended are replaced.
        limits: What one worker process may use.
        environment: The names of the host's environment variables that worker processes get.
        start_timeout: Seconds that a worker process may take to open and initialise the plugin.

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
            raise ValueError(f"workers is {self.workers}; it takes at least 1")


class Options(TypedDict, total=False):
    """The settings that :func:`backworks.load` takes as keyword arguments; see :class:`Settings`."""

    workers: int
    timeout: float | None
    breaker: Breaker | None
    queue: int
    restart: Restart
    limits: Limits
    environment: tuple[str, ...]
    start_timeout: float


class ManagedOptions(Options, total=False):
    """The settings that a :class:`backworks.PluginManager` takes in addition."""

    health_check: float | None
    critical: bool
