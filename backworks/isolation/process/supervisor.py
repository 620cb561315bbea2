"""One thread that looks after all workers of this process: what they log, and that they end.

It is an event loop of asyncio. It runs while there is a plugin with workers, and is gone when the last one is closed.
What the interpreter's end leaves of it is harmless: workers end by themselves when their pipes do.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Supervisor", "acquire", "release"]

_logger = logging.getLogger("backworks")


class Supervisor:
    """A thread with an event loop.

    Attributes:
        loop: The loop; of its methods only ``call_soon_threadsafe`` is for other threads.
    """

    def __init__(self) -> None:
        # Not the default of the platform or of a policy: it has to watch plain descriptors, or nothing but itself.
        self.loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="backworks-supervisor", daemon=True)
        self._thread.start()

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Has the thread call a function; nothing happens if it has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def is_current(self) -> bool:
        """Tells whether the calling thread is this one, which must not wait for what it has to do itself."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Ends the thread."""
        self.post(self.loop.stop)
        if not self.is_current():
            self._thread.join()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()


class _Shared:
    """The supervisor of this process, and how many use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.current: Supervisor | None = None
        self.users = 0


_shared = _Shared()
#: Those of a parent process. They must not even be finalised here: they share the kernel's table of descriptors.
_of_parent: list[Supervisor] = []


def acquire() -> Supervisor:
    """Returns the supervisor of this process, for a user who will call :func:`release`."""
    with _shared.lock:
        if _shared.current is None:
            _shared.current = Supervisor()
        _shared.users += 1
        return _shared.current


def release(supervisor: Supervisor) -> None:
    """Lets the supervisor end if nobody else uses it."""
    with _shared.lock:
        if supervisor is not _shared.current:  # of a parent process
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
