"""A pool of daemon threads.

The standard library's pool joins its threads when the interpreter ends, so that one plugin that hangs would keep the
process alive for ever; these threads it leaves behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["ThreadPool"]

Result = TypeVar("Result")
_Job = tuple[Future[Any], Callable[[], Any]]

#: Of which pool a thread is.
_current = threading.local()


class ThreadPool:
    """Runs functions, at most ``size`` at a time, in the order in which they came.

    Threads are started when they are needed and live until :meth:`close`.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._pending = 0  # jobs that were submitted and have not ended

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Has the function run by a thread; a future that is cancelled before it starts never runs."""
        future: Future[Any] = Future()
        with self._lock:
            self._pending += 1
            if self._threads < min(self._pending, self._size):
                self._threads += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._jobs.put((future, function))
        return future

    def is_full_of_caller(self) -> bool:
        """Tells whether the calling thread is the only one of this pool, so that it would wait for itself."""
        return self._size == 1 and getattr(_current, "pool", None) is self

    def close(self) -> None:
        """Has the threads end after the jobs that were submitted; waits for nothing."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        _current.pool = self
        while (job := self._jobs.get()) is not None:
            future, function = job
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001  # it is the caller's
                    self._done()
                    future.set_exception(error)
                else:
                    self._done()
                    future.set_result(result)
            else:
                self._done()
            del job, future, function

    def _done(self) -> None:
        with self._lock:
            self._pending -= 1
