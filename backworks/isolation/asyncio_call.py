"""A call from an event loop to a worker process: it waits for a slot, begins, and waits for the reply.

Theory of operation. Everything here runs in the thread of the call's event loop, except :meth:`AsyncioCall.wake`, which
can be called from any thread. When a reply is noticed, the slot is given back immediately, before the task that waits
for the reply continues; if the next call in the queue belongs to the same loop, that call begins at once. The worker
still polls at that moment, so a queue is processed without an iteration of the loop, or a wake-up, for each call.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from backworks.isolation.process.codec import Late
from backworks.isolation.timeouts import deadline

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.isolation.slots import Slot, Slots

    #: Endpoint, method, data; traceparent, tracestate.
    Asked = tuple[str | bytes, str | bytes, str | Buffer, str | bytes | None, str | bytes | None]

__all__ = ["AsyncioCall"]


class AsyncioCall:
    """One call; a :class:`backworks.isolation.slots.Waiter` as long as it has no slot.

    Attributes:
        loop: Its event loop.
        future: The reply or an exception: a ``BackworksError`` if the call has not begun, otherwise the exception of
            the channel, in which case the caller must still give back or retire :attr:`slot`.
        slot: The slot that it holds.
        error: The reason why it gets no slot.
        timeout: Its timeout in seconds when it began.
        until: Its deadline, by ``time.monotonic()``, or ``None``.

    Args:
        slots: The slots.
        begun: The calls that wait for their replies; the call adds and removes itself.
        asked: The request.
        timeout: The total time in seconds, or ``None``.
        slot: The slot whose worker already has the request, if there is one.

    Raises:
        PluginUnavailable, PluginStateError, PluginTimeout: The call may not wait for a slot.
    """

    __slots__ = ("_asked", "_begun", "_slots", "_timer", "error", "future", "loop", "slot", "timeout", "until")

    def __init__(
        self, slots: Slots, begun: set[AsyncioCall], asked: Asked, timeout: float | None, slot: Slot | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Reply] = self.loop.create_future()
        self.slot = slot
        self.error: Exception | None = None
        self.timeout = timeout
        self.until = deadline(timeout)
        self._slots = slots
        self._begun = begun
        self._asked = asked
        self._timer: asyncio.TimerHandle | None = None
        if slot is None:
            slots.join(self, timeout, self.until)
        else:
            self._watch(slot)
        if timeout is not None and not self.future.done():
            self._timer = self.loop.call_later(timeout, self._late)

    def wake(self) -> Slot | None:
        """Begins the call with its slot, in the event loop's thread; under the lock of the slots."""
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            here = False
        if here:
            return self._begin()
        self.loop.call_soon_threadsafe(self._start)
        return None

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`look` would find a reply, as far as that can be determined without a system call."""
        return self.slot is not None and self.slot.worker.channel.is_ready

    def look(self) -> None:
        """Checks whether the reply has arrived."""
        slot = self.slot
        if slot is None or self.future.done():
            return
        try:
            reply = slot.worker.channel.advance()
        except Exception as error:  # noqa: BLE001  # passed on to the caller
            self._fail(slot, error)
        else:
            if reply is not None:
                self._end_watch(slot)
                self.slot = None
                self.future.set_result(reply)
                self._slots.give(slot)

    def leave(self) -> tuple[Slot, BaseException | None] | None:
        """Ends the wait of a cancelled task and releases the slot.

        Returns:
            ``None`` if the caller has nothing left to do. Otherwise the slot that it must give back or retire, with the
            exception of its channel, or with ``None`` if the worker still has the request.
        """
        slot = self.take_slot()
        if slot is not None:
            self._cancel()
            return slot, None
        slot = self.slot
        if slot is not None and self.future.done() and not self.future.cancelled():
            self.slot = None
            return slot, self.future.exception()
        self._slots.leave(self)
        self._cancel()
        return None

    def take_slot(self) -> Slot | None:
        """Ends the wait for the reply and returns the slot, or ``None`` if the call does not wait for a reply.

        Any thread may call this once the event loop is closed.
        """
        try:
            self._begun.remove(self)
        except KeyError:
            return None
        slot, self.slot = self.slot, None
        if slot is not None:
            slot.worker.channel.unwatch()
        return slot

    def end(self) -> None:
        """Cancels the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _cancel(self) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self.future.cancel()

    def _start(self) -> None:
        if (slot := self._begin()) is not None:
            self._slots.give(slot)

    def _begin(self) -> Slot | None:
        """Begins the call with its slot; releases the slot and returns it if it is free again."""
        slot = self.slot
        if self.future.done():  # the task has stopped waiting
            self.slot = None
            return slot
        if slot is None:
            if self.error is not None:
                self.future.set_exception(self.error)
            return None
        left = None if self.until is None else self.until - time.monotonic()
        if left is not None and left <= 0:
            self.slot = None
            self.future.set_exception(self._slots.nothing_was_free(self.timeout))
            return slot
        self.timeout = left
        endpoint, method, data, traceparent, tracestate = self._asked
        try:
            reply = slot.worker.begin(endpoint, method, data, left, traceparent, tracestate)
        except BaseException as error:  # noqa: BLE001  # passed on to the caller
            self.future.set_exception(error)
            return None
        if reply is None:
            self._watch(slot)
            return None
        self.slot = None
        self.future.set_result(reply)
        return slot

    def _watch(self, slot: Slot) -> None:
        self._begun.add(self)
        slot.worker.channel.watch(self.loop, self.look)

    def _end_watch(self, slot: Slot) -> None:
        self._begun.discard(self)
        slot.worker.channel.unwatch()

    def _fail(self, slot: Slot, error: Exception) -> None:
        self._end_watch(slot)
        self.future.set_exception(error)

    def _late(self) -> None:
        """Handles the timeout."""
        slot = self.slot
        if slot is not None and self in self._begun:
            self.look()
            if not self.future.done():
                self._fail(slot, Late())
        elif not self.future.done():
            self._slots.leave(self)
            self.future.set_exception(self._slots.nothing_was_free(self.timeout))
