"""An abandoned call to a worker process: holds the slot until the reply arrives, although its caller has left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from backworks.isolation.process.codec import Late

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backworks.isolation.process.supervisor import Supervisor
    from backworks.isolation.slots import Slot, Slots

__all__ = ["AbandonedCall"]


class AbandonedCall:
    """Holds a slot until its worker has replied, in the supervisor's thread.

    Args:
        slots: The slots to which the slot belongs.
        slot: The slot, which the caller hands over.
        until: The deadline of the call, by ``time.monotonic()``, or ``None``.
        failed: Takes over a slot whose channel has raised an exception.
    """

    def __init__(
        self, slots: Slots, slot: Slot, until: float | None, failed: Callable[[Slot, Exception], object]
    ) -> None:
        self._slots = slots
        self._slot: Slot | None = slot
        self._until = until
        self._failed = failed
        self._timer: asyncio.TimerHandle | None = None

    def attend(self, supervisor: Supervisor) -> None:
        """Starts to wait; can be called from any thread."""
        supervisor.post(self._start, supervisor.loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._slot is not None:
            self._slot.worker.channel.watch(loop, self._look)
            if self._until is not None:
                self._timer = loop.call_later(max(0.0, self._until - time.monotonic()), self._late)
            self._look()

    def _look(self) -> None:
        slot = self._slot
        if slot is None:
            return
        try:
            reply = slot.worker.channel.advance()
        except Exception as error:  # noqa: BLE001  # passed on to the handler
            self._failed(self._end(slot), error)
        else:
            if reply is not None:
                self._slots.give(self._end(slot))

    def _late(self) -> None:
        self._look()
        slot = self._slot
        if slot is not None:
            self._failed(self._end(slot), Late())

    def _end(self, slot: Slot) -> Slot:
        """Stops waiting and returns the slot."""
        self._slot = None
        slot.worker.channel.unwatch()
        if self._timer is not None:
            self._timer.cancel()
        return slot
