"""Reaps child processes without waiting for them, on POSIX.

A tracer can withhold the exit status of an ended process for as long as it likes, so nothing may wait for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from backworks.isolation.process.exits import Exit

if TYPE_CHECKING:
    import asyncio
    import subprocess
    from collections.abc import Callable

__all__ = ["Child", "leave", "reap_left", "signal_name", "when_reaped"]

#: The first and the longest pause between two attempts to reap a child, in seconds.
_FIRST, _LONGEST = 0.001, 0.1


class Child:
    """A child process until it is reaped. Thread-safe; no method waits.

    A process is only signalled before it is reaped, because until then the system cannot reuse its id or its group's.

    Attributes:
        pid: Its process id.
        how: How it ended, after it has been reaped.

    Args:
        process: The process, whose group has its own id.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.how = Exit(None, None)
        self._process = process
        self._lock = threading.Lock()

    def signal(self, number: int) -> None:
        """Sends a signal to the process group; does nothing after the process has been reaped."""
        with self._lock:
            if self._process.returncode is None:
                # macOS reports EPERM for a group in which all processes have ended.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, number)

    def poll(self) -> bool:
        """Reaps the process if its exit status is available. Returns whether it has been reaped, now or earlier."""
        with self._lock:
            if self._process.returncode is None:
                self._reap()
            return self._process.returncode is not None

    def forget(self) -> None:
        """Makes the other methods do nothing."""
        self._process.returncode = 0

    def _reap(self) -> None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # a SIGCHLD handler of the host has reaped the process
            self._process.returncode = 0
            return
        if pid:
            code = self._process.returncode = os.waitstatus_to_exitcode(status)
            self.how = Exit(signal_name(-code), None) if code < 0 else Exit(None, code)


def signal_name(number: int) -> str:
    """Returns the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def when_reaped(
    loop: asyncio.AbstractEventLoop,
    child: Child,
    then: Callable[[bool], object],
    seconds: float,
    pause: float = _FIRST,
) -> None:
    """Calls a function as soon as a child has been reaped, or after a time.

    Args:
        loop: The event loop, in whose thread this is called.
        child: The child, which has ended or is about to end.
        then: The function, which receives whether the child has been reaped.
        seconds: The time.
        pause: The time until the second attempt, in seconds.
    """
    if (reaped := child.poll()) or seconds <= 0:
        then(reaped)
    else:
        loop.call_later(pause, when_reaped, loop, child, then, seconds - pause, min(2 * pause, _LONGEST))


#: Children that have not been reaped in time.
_left: set[Child] = set()


def leave(child: Child) -> None:
    """Leaves a child to a later :func:`reap_left`."""
    _left.add(child)


def reap_left() -> None:
    """Reaps those children that :func:`leave` has received and that can be reaped now."""
    for child in tuple(_left):
        if child.poll():
            _left.discard(child)
