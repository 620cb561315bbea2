"""``isolation: thread``: calls run in threads of the plugin's own.

A call that overruns is given up by its caller, but runs on, since nothing can end a thread; until it returns the
instance takes no other call.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from backworks.errors import PluginTimeout
from backworks.isolation.runner import Job, called_by_itself, nanoseconds
from backworks.isolation.threads import ThreadPool
from backworks.lifecycle import Lifecycle, State, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from backworks.ffi.contract import Reply

__all__ = ["ThreadRunner"]


class ThreadRunner:
    """A :class:`backworks.isolation.runner.Runner`.

    Args:
        plugin: The plugin's id, for messages.
        shutdown: Ends the instance; raises nothing.
        workers: How many calls may run at the same time; 1 for a plugin that is not thread-safe.
    """

    def __init__(self, plugin: str, shutdown: Callable[[], object], *, workers: int) -> None:
        self._plugin = plugin
        self._lifecycle = Lifecycle(plugin)
        self._shutdown = shutdown
        self._pool = ThreadPool(workers, f"backworks-{plugin}")

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def in_flight(self) -> int:
        return self._lifecycle.in_flight

    def run(self, job: Job, timeout: float | None) -> Reply:
        future, ticket = self._start(job, timeout)
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():  # the job's own exception, or it made it in the last moment
                return future.result()
            raise self._give_up(future, ticket, timeout) from None

    async def run_async(self, job: Job, timeout: float | None) -> Reply:
        future, ticket = self._start(job, timeout)
        # wait() leaves the call alone if the waiting task is cancelled: it runs on, and its reply is dropped.
        await asyncio.wait((asyncio.wrap_future(future),), timeout=timeout)
        if future.done():
            return future.result()
        raise self._give_up(future, ticket, timeout)

    def close(self, timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        if self._lifecycle.close(timeout):
            ended = self._pool.submit(self._shutdown)
            self._pool.close()
            try:
                ended.result(None if until is None else max(0.0, until - time.monotonic()))
            except TimeoutError:
                self._lifecycle.abandon()
                return False
            self._lifecycle.closed()
        return self._lifecycle.state is State.CLOSED

    def _start(self, job: Job, timeout: float | None) -> tuple[Future[Reply], Ticket]:
        until = None if timeout is None else time.monotonic() + timeout
        if self._pool.is_full_of_caller():
            raise called_by_itself(self._plugin)
        ticket = self._lifecycle.enter()

        def work() -> Reply:
            try:
                if until is None:
                    return job(0)
                left = until - time.monotonic()
                if left <= 0:
                    raise PluginTimeout("the time was over before a thread was free", plugin=self._plugin)
                return job(nanoseconds(left))
            finally:
                self._lifecycle.leave(ticket)

        return self._pool.submit(work), ticket

    def _give_up(self, future: Future[Reply], ticket: Ticket, timeout: float | None) -> PluginTimeout:
        if future.cancel():
            self._lifecycle.leave(ticket)
            return PluginTimeout(f"no thread was free within {timeout:g} s", plugin=self._plugin)
        self._lifecycle.lose(ticket)
        return PluginTimeout(f"no answer within {timeout:g} s", plugin=self._plugin)
