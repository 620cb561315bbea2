"""Starts, watches, kills and reaps worker processes on macOS and similar systems."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Any

from backworks.isolation.process.pipes import Pipes, launch
from backworks.isolation.process.reaping import Child, leave, reap_left, when_reaped

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from backworks.isolation.process.exits import Exit

__all__ = ["Pipes", "Process", "start"]

#: How many seconds to wait for the exit status of an ended process.
_STATUS = 5.0


class Process:
    """A worker process from its start until it is reaped. Thread-safe; no method waits.

    Attributes:
        pid: Its process id.

    Args:
        child: The process.
    """

    def __init__(self, child: Child) -> None:
        self.pid = child.pid
        self._child = child
        self._watch = _watch_exit(self.pid)

    def fileno(self) -> int:
        """Returns a descriptor that becomes readable when the process has ended."""
        return self._watch if isinstance(self._watch, int) else self._watch.fileno()

    def watch(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        """Makes an event loop call a function when the process has ended and been reaped, or cannot be reaped."""
        loop.add_reader(self.fileno(), self._ended, loop, ended)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the effect of :meth:`watch`."""
        loop.remove_reader(self.fileno())

    def kill(self) -> None:
        """Kills the process group; does nothing after the process has been reaped."""
        self._child.signal(signal.SIGKILL)

    def reap(self) -> Exit:
        """Returns how the process ended, which is unknown if its exit status was not available in time."""
        return self._child.how

    def finish(self, loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
        """Ends what is left of the process and calls a function after that; leaves it behind after a few seconds."""

        def leave_or_not(reaped: bool) -> None:
            if not reaped:
                leave(self._child)
            done()

        self.kill()
        when_reaped(loop, self._child, leave_or_not, _STATUS)

    def close(self) -> None:
        """Closes the descriptor of :meth:`fileno`."""
        if isinstance(self._watch, int):
            os.close(self._watch)
        else:
            self._watch.close()

    def forget(self) -> None:
        """Releases the process without affecting it; for a forked child, because the process belongs to its parent."""
        self._child.forget()
        self.close()

    def _ended(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        self.unwatch(loop)
        self.kill()  # the rest of the group
        when_reaped(loop, self._child, lambda _: ended(), _STATUS)


def start(
    program: Path, options: Sequence[str], descriptors: Sequence[int], environment: Mapping[str, str]
) -> tuple[Process, Pipes]:
    """Starts the worker program in a new session.

    Args:
        program: The program.
        options: Its options, except those for its pipes.
        descriptors: The descriptors that it inherits in addition to its pipes.
        environment: Its complete environment.

    Raises:
        OSError: The program cannot be started.
    """
    reap_left()
    process, pipes = launch(program, options, descriptors, environment)
    return Process(Child(process)), pipes


def _watch_exit(pid: int) -> Any:
    """Returns a descriptor, or an object with one, that becomes readable when the process ends, before it is reaped."""
    system: Any = select  # kqueue is not part of it on every system
    if hasattr(system, "kqueue"):
        queue = system.kqueue()
        try:
            event = system.kevent(
                pid,
                filter=system.KQ_FILTER_PROC,
                flags=system.KQ_EV_ADD | system.KQ_EV_ONESHOT,
                fflags=system.KQ_NOTE_EXIT,
            )
            queue.control([event], 0)
        except ProcessLookupError:  # the process has already ended
            queue.close()
            reading, writing = os.pipe()
            os.close(writing)  # makes the other end permanently readable
            return reading
        return queue
    reading, writing = os.pipe()

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(writing)

    threading.Thread(target=wait, name="backworks-exit", daemon=True).start()
    return reading
