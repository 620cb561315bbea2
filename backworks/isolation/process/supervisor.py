"""The thread that watches all worker processes of this process: their log records and their ends.

The thread runs an asyncio event loop as long as there is a plugin with workers. It need not finish before the
interpreter exits, because workers end when their pipes close.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Supervisor", "acquire", "release"]

#: How many seconds to wait for the end of the thread, and how often to wake it up meanwhile.
_STOP, _AGAIN = 5.0, 0.1
#: The interval of a timer on Windows, in seconds. A wake-up can get lost, because asyncio ignores a failure to send it
#: and an exception can interrupt the sender; the timer then ends the sleep.
_TICK = 1.0


class Supervisor:
    """A thread with an event loop.

    Attributes:
        loop: The loop. Other threads may only call its method ``call_soon_threadsafe``.
    """

    def __init__(self) -> None:
        # Not the platform's or a policy's default, because the loop must be able to watch plain descriptors.
        self.loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="backworks-supervisor", daemon=True)
        self._thread.start()

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Makes the thread call a function; does nothing if the thread has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def is_current(self) -> bool:
        """Returns whether the calling thread is this one, which must not wait for its own work."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Ends the thread, and waits a few seconds for that unless this is the thread itself."""
        self.post(self.loop.stop)
        if self.is_current():
            return
        until = time.monotonic() + _STOP
        while self._thread.is_alive() and time.monotonic() < until:
            self._thread.join(_AGAIN)
            self.post(self.loop.stop)  # the first wake-up may have got lost

    def _run(self) -> None:
        try:
            if sys.platform == "win32":
                self._tick()
            self.loop.run_forever()
        finally:
            self.loop.close()

    def _tick(self) -> None:
        self.loop.call_later(_TICK, self._tick)


class _Shared:
    """The supervisor of this process and the number of its users."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.current: Supervisor | None = None
        self.users = 0


_shared = _Shared()
#: Supervisors of a parent process. They must not be finalised, because they share descriptors with the parent's.
_of_parent: list[Supervisor] = []


def acquire() -> Supervisor:
    """Returns the supervisor of this process; the caller must call :func:`release` later."""
    with _shared.lock:
        if _shared.current is None:
            _shared.current = Supervisor()
        _shared.users += 1
        return _shared.current


def release(supervisor: Supervisor) -> None:
    """Releases the supervisor, which ends with its last user."""
    with _shared.lock:
        if supervisor is not _shared.current:  # it belongs to a parent process
            return
        _shared.users -= 1
        if _shared.users:
            return
        _shared.current = None
    supervisor.stop()


@atexit.register
def _at_exit() -> None:
    if _shared.current is not None:
        _shared.current.stop()


def _in_child() -> None:
    if _shared.current is not None:
        _of_parent.append(_shared.current)
    _shared.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
