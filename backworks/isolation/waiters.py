"""Those who wait for a free worker: a thread, or who closes the plugin; for an event loop see ``taskcall``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backworks.isolation.process.worker import Worker

__all__ = ["Closer", "ThreadWaiter", "Waiter"]


class Waiter(Protocol):
    """One who waits. What it gets is set once, under the lock of who gives it."""

    worker: Worker | None
    error: Exception | None

    def wake(self) -> None:
        """Tells it that it has got something."""
        ...


class ThreadWaiter:
    """A :class:`Waiter` that blocks its thread."""

    __slots__ = ("_lock", "error", "worker")

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        """Waits, and tells whether it has got something."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))


class Closer:
    """A :class:`Waiter` that stays in the queue and takes whatever is free."""

    error: Exception | None = None

    def __init__(self, changed: threading.Condition) -> None:
        self.held: set[Worker] = set()
        self._changed = changed

    @property
    def worker(self) -> Worker | None:
        return None

    @worker.setter
    def worker(self, worker: Worker | None) -> None:
        if worker is not None:
            self.held.add(worker)

    def wake(self) -> None:
        self._changed.notify_all()
