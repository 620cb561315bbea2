"""Which worker takes the next call: the slots that are free, and the calls that wait for one.

Theory of operation. Each worker that has started has a :class:`Slot`. A slot is free, or held by exactly one: a call, a
health check, an :class:`~backworks.isolation.abandoned.AbandonedCall`, or whoever ends the plugin. Whoever holds a slot
gives it back or retires it, once; a slot that is given back twice, or with a request still open, is an error where that
happens.

:class:`FreeSlots` is the list of free slots. Taking a slot and giving it back are one step each, so that a call takes
no lock. The list is *attentive* while a call waits, or while the worker of a held slot has ended, or while the plugin
closes. One rule keeps the two sides together: whoever waits makes the list attentive before looking for a free slot,
and whoever gives a slot back looks afterwards whether the list is attentive. So at least one of the two sees the other.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from backworks import ffi
from backworks.errors import PluginTimeout
from backworks.isolation.timeouts import deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from backworks.ffi.contract import Reply
    from backworks.isolation.process.worker import Worker

__all__ = ["FreeSlots", "PythonFreeSlots", "PythonSlot", "Slot", "Slots", "ThreadWaiter", "Waiter", "new_slot"]


class Slot(Protocol):
    """The place of one worker: a :class:`PythonSlot` or its compiled twin.

    Attributes:
        worker: The worker.
        call: Makes a call and returns its reply: :meth:`backworks.isolation.channels.channel.Channel.call`.
    """

    @property
    def worker(self) -> Worker: ...
    @property
    def call(self) -> Callable[..., Reply]: ...


class FreeSlots(Protocol):
    """The list of free slots: :class:`PythonFreeSlots` or its compiled twin. Thread-safe.

    Attributes:
        attentive: Whether a slot is only taken and given back under the lock of :class:`Slots`.
    """

    attentive: bool

    def take(self) -> Slot | None:
        """Takes the slot that was given back last, whose pages are in the caches; ``None`` if attentive or empty."""
        ...

    def pop(self) -> Slot | None:
        """As :meth:`take`, whether attentive or not."""
        ...

    def give(self, slot: Slot) -> None:
        """Puts a slot back, and calls ``look`` if the list is attentive.

        Raises:
            RuntimeError: The slot is free already.
        """
        ...

    def remove(self, slot: Slot) -> bool:
        """Takes this slot, if it is free; returns whether it was."""
        ...

    def clear(self) -> None:
        """Forgets all slots."""
        ...

    def __len__(self) -> int: ...


class PythonSlot:
    """A :class:`Slot` where nothing is compiled."""

    __slots__ = ("call", "worker")

    def __init__(self, worker: Worker, call: Callable[..., Reply]) -> None:
        self.worker = worker
        self.call = call


class PythonFreeSlots:
    """A :class:`FreeSlots` where nothing is compiled.

    Args:
        look: Called after a slot was put back while the list is attentive.
    """

    def __init__(self, look: Callable[[], object]) -> None:
        self.attentive = False
        self._look = look
        self._slots: list[Slot] = []

    def take(self) -> Slot | None:
        return None if self.attentive else self.pop()

    def pop(self) -> Slot | None:
        try:
            return self._slots.pop()
        except IndexError:
            return None

    def give(self, slot: Slot) -> None:
        if slot in self._slots:
            raise RuntimeError("the slot of a worker was given back twice")
        self._slots.append(slot)
        if self.attentive:
            self._look()

    def remove(self, slot: Slot) -> bool:
        try:
            self._slots.remove(slot)
        except ValueError:
            return False
        return True

    def clear(self) -> None:
        self._slots.clear()

    def __len__(self) -> int:
        return len(self._slots)


def new_slot(worker: Worker, call: Callable[..., Reply]) -> Slot:
    """Makes the slot of a worker, which its maker holds."""
    compiled = _compiled()
    slot: Slot = PythonSlot(worker, call) if compiled is None else compiled.Slot(worker, call)
    return slot


def _new_free_slots(look: Callable[[], object]) -> FreeSlots:
    compiled = _compiled()
    free: FreeSlots = PythonFreeSlots(look) if compiled is None else compiled.FreeSlots(look)
    return free


def _compiled() -> ModuleType | None:
    """Returns the extension module if it has slots: the one for a Python without an interpreter lock has none."""
    compiled = ffi.compiled()
    return compiled if hasattr(compiled, "FreeSlots") else None


class Waiter(Protocol):
    """Something that waits for a slot. It gets a slot or an error, once, under the lock of :class:`Slots`."""

    slot: Slot | None
    error: Exception | None

    def wake(self) -> Slot | None:
        """Notes that it has got something. Returns the slot if its call is over already.

        Raises:
            RuntimeError: It will never look.
        """
        ...


class ThreadWaiter:
    """A :class:`Waiter` that blocks its thread."""

    __slots__ = ("_lock", "error", "slot")

    def __init__(self) -> None:
        self.slot: Slot | None = None
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        """Waits; returns whether it has got something."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))


class Slots:
    """The slots of one plugin's workers. Thread-safe.

    Args:
        plugin: The plugin's id, for messages.
        lock: Guards all but what takes no lock. It can be taken again by the thread that has it, since a finaliser may
            run in the middle of something.
        admit: Called under the lock with the timeout and the deadline of a call that is to wait; raises if it may not.
        retire: Ends a worker by its slot, which the caller of it holds.

    Attributes:
        free: The free slots.
        waiting: What waits for one, the first in the front.
        given_back: Notified when a slot was given back while the list is attentive, or retired.
    """

    def __init__(
        self,
        plugin: str,
        lock: threading.RLock,
        admit: Callable[[float | None, float | None], object],
        retire: Callable[[Slot], object],
    ) -> None:
        self.plugin = plugin
        self.free = _new_free_slots(self.look)
        self.waiting: deque[Waiter] = deque()
        self.given_back = threading.Condition(lock)
        self._lock = lock
        self._admit = admit
        self._retire = retire
        self._doomed: set[Slot] = set()  # held, and their workers have ended
        self._closing = False

    def wait(self, timeout: float | None) -> tuple[Slot, float | None]:
        """Waits for a slot; returns it with the seconds that are left of the timeout.

        Raises:
            PluginTimeout: No slot was free in time.
            PluginUnavailable, PluginStateError: The call may not wait, or no worker will come.
        """
        until = deadline(timeout)
        waiter = ThreadWaiter()
        try:
            self.join(waiter, timeout, until)
            waiter.wait(timeout)
        except BaseException:
            self.leave(waiter)
            raise
        with self._lock, contextlib.suppress(ValueError):
            self.waiting.remove(waiter)
            self._attend()
        if waiter.error is not None:
            raise waiter.error
        left = None if until is None else until - time.monotonic()
        if waiter.slot is not None and (left is None or left > 0):
            return waiter.slot, left
        if waiter.slot is not None:
            self.free.give(waiter.slot)
        raise self.nothing_was_free(timeout)

    def join(self, waiter: Waiter, timeout: float | None, until: float | None) -> None:
        """Puts a waiter into the queue, and wakes it at once if a slot is free.

        Args:
            waiter: What waits.
            timeout: The seconds that it has, or ``None``.
            until: When they are over.

        Raises:
            PluginTimeout, PluginUnavailable, PluginStateError: It may not wait.
        """
        with self._lock:
            self._admit(timeout, until)
            self.waiting.append(waiter)
            self._attend()
            self._dispatch()

    def leave(self, waiter: Waiter) -> None:
        """Takes a waiter that gives up out of the queue, or takes back the slot that it got meanwhile."""
        with self._lock, contextlib.suppress(ValueError):
            self.waiting.remove(waiter)
            self._attend()
        slot, waiter.slot = waiter.slot, None
        if slot is not None:
            self.free.give(slot)

    def refuse(self, error: Exception) -> None:
        """Has everything that waits fail; under the lock."""
        while self.waiting:
            waiter = self.waiting.popleft()
            waiter.error = error
            with contextlib.suppress(RuntimeError):
                waiter.wake()
        self._attend()

    def give(self, slot: Slot) -> None:
        """Gives back a slot whose worker can take the next call, or retires the worker if it cannot."""
        if slot.worker.channel.is_open:
            self.retire(slot)
        else:
            self.free.give(slot)

    def retire(self, slot: Slot) -> None:
        """Ends the worker of a slot that the caller holds."""
        with self._lock:
            self._doomed.discard(slot)
            self._attend()
            self._retire(slot)
            self.given_back.notify_all()

    def doom(self, slot: Slot) -> bool:
        """Notes that a worker has ended: its slot is retired, now or when it is given back.

        Returns:
            Whether it was free.
        """
        with self._lock:
            self._doomed.add(slot)
            self._attend()
            if not self.free.remove(slot):
                return False
            self.retire(slot)
            return True

    def close(self) -> None:
        """Has every slot that is given back from now on be seen by who waits for :attr:`given_back`; under the lock."""
        self._closing = True
        self._attend()

    def look(self) -> None:
        """Retires ended workers whose slots are free, and gives the others to what waits."""
        with self._lock:
            for slot in tuple(self._doomed):
                if self.free.remove(slot):
                    self.retire(slot)
            self._dispatch()
            self.given_back.notify_all()

    def nothing_was_free(self, timeout: float | None) -> PluginTimeout:
        """Makes the exception of a call that has waited in vain."""
        within = "in time" if timeout is None else f"within {timeout:g} s"
        return PluginTimeout(f"no worker process was free {within}", plugin=self.plugin)

    def _dispatch(self) -> None:
        """Gives free slots to what waits; under the lock."""
        slot: Slot | None = None
        while self.waiting:
            if slot is None and (slot := self.free.pop()) is None:
                break
            if slot in self._doomed:
                self.retire(slot)
                slot = None
                continue
            waiter = self.waiting.popleft()
            waiter.slot = slot
            try:
                slot = waiter.wake()
            except RuntimeError:  # its event loop is closed, and it will never look
                waiter.slot = None
        self._attend()
        if slot is not None:
            self.free.give(slot)

    def _attend(self) -> None:
        """Says anew whether the list is attentive; under the lock."""
        self.free.attentive = self._closing or bool(self.waiting or self._doomed)
