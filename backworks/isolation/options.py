"""What can be chosen for worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Limits", "ProcessOptions", "Restart"]


@dataclass(frozen=True)
class Limits:
    """What one worker may take; ``None`` is no limit. The system enforces those that it can.

    Attributes:
        memory: Bytes of memory.
        cpu_time: Seconds of processor time in its whole life.
        open_files: Descriptors.
        processes: Processes and threads of the plugin's own.
        output: Bytes of one answer; the worker refuses to send more, and the host to take more.
    """

    memory: int | None = None
    cpu_time: int | None = None
    open_files: int | None = None
    processes: int | None = None
    output: int = 64 << 20


@dataclass(frozen=True)
class Restart:
    """How workers that ended are replaced.

    Attributes:
        initial: Seconds to wait before the second worker in a row; the first one is started at once.
        maximum: The most seconds to wait, however many have ended.
        give_up_after: So many failed starts in a row end the plugin.
    """

    initial: float = 0.1
    maximum: float = 30.0
    give_up_after: int = 5


@dataclass(frozen=True)
class ProcessOptions:
    """The settings of ``isolation: process``, beside the number of workers and the time of a call.

    Attributes:
        queue: How many calls may wait for a free worker.
        restart: How workers that ended are replaced.
        limits: What one worker may take.
        environment: The names of the variables that a worker gets of the host's environment.
        start_timeout: Seconds that a worker may take to open and initialise the plugin.
    """

    queue: int = 64
    restart: Restart = field(default_factory=Restart)
    limits: Limits = field(default_factory=Limits)
    environment: tuple[str, ...] = ()
    start_timeout: float = 10.0
