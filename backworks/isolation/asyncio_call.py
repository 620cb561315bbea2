"""A call from an event loop to a worker process: it waits for a worker, begins, and waits for the reply.

Theory of operation. Everything here runs in the thread of the call's event loop, except that whoever has a free worker
for it wakes it from any thread. A worker that has answered is given back where that is noticed, before the task runs on
that waits for the answer; and if the next in the queue belongs to the same loop, its call begins there and then. The
worker still polls at that moment, so that a queue is worked off without a turn of the loop, or a wake-up, for each.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from backworks.isolation.lifecycle import deadline
from backworks.isolation.process.codec import Late

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.isolation.process.worker import Worker
    from backworks.isolation.slots import Crew

    #: Endpoint, method, data; traceparent, tracestate.
    Asked = tuple[str | bytes, str | bytes, str | Buffer, str | bytes | None, str | bytes | None]

__all__ = ["TaskCall"]


class TaskCall:
    """One call; a :class:`backworks.isolation.waiters.Waiter` as long as it has no worker.

    Attributes:
        loop: The event loop that it belongs to.
        future: The reply, or what was raised instead: a ``BackworksError`` if it has not begun, or else whatever the
            channel has raised, and then :attr:`worker` has still to be seen to.
        worker: The worker that it holds.
        error: Why it gets none.
        timeout: Seconds that it had when it began.
        until: When its time is over, as ``time.monotonic()`` tells it, or ``None``.

    Args:
        crew: The workers.
        begun: The crew's calls that wait for their replies; it keeps itself in there meanwhile.
        asked: What to send.
        timeout: Seconds for all of it, or ``None``.
        worker: To whom the request was sent already, if it was.

    Raises:
        PluginUnavailable, PluginStateError, PluginTimeout: It may not wait for a worker.
    """

    __slots__ = ("_asked", "_begun", "_crew", "_timer", "error", "future", "loop", "timeout", "until", "worker")

    def __init__(
        self, crew: Crew, begun: set[TaskCall], asked: Asked, timeout: float | None, worker: Worker | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Reply] = self.loop.create_future()
        self.worker = worker
        self.error: Exception | None = None
        self.timeout = timeout
        self.until = deadline(timeout)
        self._crew = crew
        self._begun = begun
        self._asked = asked
        self._timer: asyncio.TimerHandle | None = None
        if worker is None:
            crew.join(self, timeout, self.until)
        else:
            self._watch(worker)
        if timeout is not None and not self.future.done():
            self._timer = self.loop.call_later(timeout, self._late)

    def wake(self) -> None:
        """Begins the call with the worker that was given, or has the loop do so; under the crew's lock."""
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            here = False
        if not here:
            self.loop.call_soon_threadsafe(self._start)
        elif (worker := self._begin()) is not None:
            self._crew.free.append(worker)  # for the next one, by whoever has the lock

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`look` would find something, as far as that can be told at no cost."""
        return self.worker is not None and self.worker.channel.is_ready

    def look(self) -> None:
        """Looks whether the reply is there."""
        worker = self.worker
        if worker is None or self.future.done():
            return
        try:
            reply = worker.channel.advance()
        except Exception as error:  # noqa: BLE001  # it is the caller's
            self._fail(worker, error)
        else:
            if reply is not None:
                self._end_watch(worker)
                self.worker = None
                self.future.set_result(reply)
                self._crew.give_back(worker)

    def leave(self) -> tuple[Worker, BaseException | None] | None:
        """Ends the wait of a task that was cancelled.

        Returns:
            The worker that has still to be seen to, with what its channel has raised, or ``None`` if it has the
            request; or ``None`` if there is no such worker.
        """
        worker = self.worker
        if worker is not None and self in self._begun:
            self._end_watch(worker)
            self.future.cancel()
            return worker, None
        if worker is not None and self.future.done() and not self.future.cancelled():
            return worker, self.future.exception()
        self._crew.abandon(self)
        self.future.cancel()
        return None

    def end(self) -> None:
        """Stops its clock."""
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        if (worker := self._begin()) is not None:
            self._crew.give_back(worker)

    def _begin(self) -> Worker | None:
        """Begins the call with the worker that was given; returns that if it is free again."""
        worker = self.worker
        if self.future.done():  # nobody waits any more
            self.worker = None
            return worker
        if worker is None:
            if self.error is not None:
                self.future.set_exception(self.error)
            return None
        left = None if self.until is None else self.until - time.monotonic()
        if left is not None and left <= 0:
            self.worker = None
            self.future.set_exception(self._crew.nobody_was_free(self.timeout))
            return worker
        self.timeout = left
        endpoint, method, data, traceparent, tracestate = self._asked
        try:
            reply = worker.begin(endpoint, method, data, left, traceparent, tracestate)
        except BaseException as error:  # noqa: BLE001  # it is the caller's
            self.future.set_exception(error)
            return None
        if reply is None:
            self._watch(worker)
            return None
        self.worker = None
        self.future.set_result(reply)
        return worker

    def _watch(self, worker: Worker) -> None:
        self._begun.add(self)
        worker.channel.watch(self.loop, self.look)

    def _end_watch(self, worker: Worker) -> None:
        self._begun.discard(self)
        worker.channel.unwatch()

    def _fail(self, worker: Worker, error: Exception) -> None:
        self._end_watch(worker)
        self.future.set_exception(error)

    def _late(self) -> None:
        """The time is over."""
        worker = self.worker
        if worker is not None and self in self._begun:
            self.look()
            if not self.future.done():
                self._fail(worker, Late())
        elif not self.future.done():
            self._crew.abandon(self)
            self.future.set_exception(self._crew.nobody_was_free(self.timeout))
