"""A pool of daemon threads.

The standard library's pool joins its threads when the interpreter exits, so one plugin that hangs would keep the
process alive forever. The threads of this pool do not prevent the exit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["NoThreadLeft", "ThreadPool", "in_thread"]

Result = TypeVar("Result")
_Job = tuple[Future[Any], Callable[[], Any], bool]

#: The pool of the current thread.
_current = threading.local()


class NoThreadLeft(Exception):
    """Every other thread of the pool already waits for a job of the same pool; one more wait would be a deadlock."""


class ThreadPool:
    """Runs functions in the order in which they were submitted, at most ``size`` at a time.

    Threads start when they are needed and run until :meth:`close`.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._threads = 0
        self._pending = 0  # jobs that are queued or running
        self._nested = 0  # pending jobs that were submitted by the pool's own threads

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Runs the function in a thread, unless its future is cancelled before it starts.

        Raises:
            NoThreadLeft: The caller is a thread of this pool, and waiting for the result would be a deadlock.
            RuntimeError: The system cannot start a thread.
        """
        future: Future[Any] = Future()
        nested = getattr(_current, "pool", None) is self
        with self._lock:
            if nested and self._nested + 1 >= self._size:
                raise NoThreadLeft
            if self._threads < min(self._pending + 1, self._size):
                thread = threading.Thread(target=self._work, name=f"{self._name}-{self._threads + 1}", daemon=True)
                try:
                    thread.start()
                    self._threads += 1
                except RuntimeError:
                    if self._threads <= self._nested + nested:  # no thread would ever run it
                        raise
            self._pending += 1
            self._nested += nested
        self._jobs.put((future, function, nested))
        return future

    @property
    def pending(self) -> int:
        """The number of jobs that are queued or running."""
        return self._pending

    def wait(self, timeout: float | None) -> bool:
        """Waits until every job has ended; returns whether all have."""
        with self._lock:
            return self._ended.wait_for(lambda: not self._pending, timeout)

    def close(self) -> None:
        """Ends the threads after the jobs already submitted. Does not wait."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        _current.pool = self
        while (job := self._jobs.get()) is not None:
            future, function, nested = job
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001  # belongs to the caller
                    self._done(nested)
                    future.set_exception(error)
                else:
                    self._done(nested)
                    future.set_result(result)
            else:
                self._done(nested)
            del job, future, function

    def _done(self, nested: bool) -> None:
        with self._lock:
            self._pending -= 1
            self._nested -= nested
            if not self._pending:
                self._ended.notify_all()


def in_thread(function: Callable[[], Result], name: str) -> Future[Result]:
    """Runs a function in a thread that ends with it."""
    pool = ThreadPool(1, name)
    running = pool.submit(function)
    pool.close()
    return running
