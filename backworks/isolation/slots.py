"""Assigns worker processes to calls: the free slots, and the calls that wait for one.

Theory of operation. Each started worker has a :class:`Slot`. A slot is free, or has exactly one holder: a call, a
health check, an :class:`~backworks.isolation.abandoned.AbandonedCall`, or the shutdown of the plugin. The holder has
the only reference to the slot and must give it back or retire it, once. Giving a slot back twice raises an error at
that point. A slot whose holder disappears, because a signal handler raised an exception between two of its steps, is
garbage: its finaliser reports the worker, which then gets a new slot.

:class:`FreeSlots` is the list of free slots. Taking a slot and giving it back are atomic, so a call needs no lock. The
list is *attentive* while a call waits, while the worker of a held slot has ended, or while the plugin closes. One rule
prevents lost wake-ups: a waiter makes the list attentive before it looks for a free slot, and a holder that gives a
slot back checks afterwards whether the list is attentive. At least one of the two therefore notices the other. A signal
handler that raises in the middle of that can still lose a wake-up, so a thread that waits checks again now and then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

from backworks import ffi
from backworks.errors import PluginTimeout
from backworks.isolation.timeouts import deadline, remaining

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from backworks.ffi.contract import Reply
    from backworks.isolation.process.worker import Worker

__all__ = ["FreeSlots", "PythonFreeSlots", "PythonSlot", "Slot", "Slots", "ThreadWaiter", "Waiter", "new_slot"]

#: How often, in seconds, a waiting thread checks whether an interrupted thread has lost its wake-up.
_CHECK = 0.5


class Slot(Protocol):
    """The slot of one worker: a :class:`PythonSlot` or its compiled counterpart.

    Attributes:
        worker: The worker.
        call: Makes a call and returns its reply: :meth:`backworks.isolation.channels.channel.Channel.call`.
        returns: How often it has become free: once when the worker started, and then after each reply.
    """

    @property
    def worker(self) -> Worker: ...
    @property
    def returns(self) -> int: ...
    @property
    def call(self) -> Callable[..., Reply]: ...


class FreeSlots(Protocol):
    """The list of free slots: :class:`PythonFreeSlots` or its compiled counterpart. Thread-safe.

    Attributes:
        attentive: Whether slots are only taken and given back under the lock of :class:`Slots`.
    """

    attentive: bool

    def take(self) -> Slot | None:
        """Takes the slot given back last, whose memory is in the caches; ``None`` if the list is attentive or empty."""
        ...

    def pop(self) -> Slot | None:
        """Like :meth:`take`, but also if the list is attentive."""
        ...

    def give(self, slot: Slot) -> None:
        """Gives a slot back, and calls ``look`` if the list is attentive.

        Raises:
            RuntimeError: The slot is already free.
        """
        ...

    def remove(self, worker: Worker) -> Slot | None:
        """Takes the slot of this worker, or returns ``None`` if it is not free."""
        ...

    def clear(self) -> None:
        """Removes all slots."""
        ...

    def __len__(self) -> int: ...


class PythonSlot:
    """A :class:`Slot` in Python.

    Args:
        worker: The worker.
        call: Makes a call.
        lost: Called with the worker when the slot becomes garbage while it is not free. It runs in any thread, at any
            point, so it must not wait.
    """

    __slots__ = ("_lost", "call", "is_free", "returns", "worker")

    def __init__(self, worker: Worker, call: Callable[..., Reply], lost: Callable[[Worker], object]) -> None:
        self.worker = worker
        self.call = call
        self.is_free = False
        self.returns = 0
        self._lost = lost

    def __del__(self) -> None:
        if not self.is_free:
            self._lost(self.worker)


class PythonFreeSlots:
    """A :class:`FreeSlots` in Python.

    Args:
        look: Called after a slot was given back while the list is attentive.
    """

    def __init__(self, look: Callable[[], object]) -> None:
        self.attentive = False
        self._look = look
        self._slots: list[PythonSlot] = []

    def take(self) -> PythonSlot | None:
        return None if self.attentive else self.pop()

    def pop(self) -> PythonSlot | None:
        try:
            slot = self._slots.pop()
        except IndexError:
            return None
        slot.is_free = False
        return slot

    def give(self, slot: PythonSlot) -> None:
        if slot.is_free:
            raise RuntimeError("the slot of a worker was given back twice")
        slot.is_free = True
        slot.returns += 1
        self._slots.append(slot)
        if self.attentive:
            self._look()

    def remove(self, worker: Worker) -> PythonSlot | None:
        slot = next((slot for slot in tuple(self._slots) if slot.worker is worker), None)
        try:
            if slot is not None:
                self._slots.remove(slot)
                slot.is_free = False
        except ValueError:  # another thread was faster
            return None
        return slot

    def clear(self) -> None:
        self._slots.clear()

    def __len__(self) -> int:
        return len(self._slots)


def new_slot(worker: Worker, call: Callable[..., Reply], lost: Callable[[Worker], object]) -> Slot:
    """Creates the slot of a worker, which the caller holds; see :class:`PythonSlot`."""
    slot: Slot = (PythonSlot if (compiled := _compiled()) is None else compiled.Slot)(worker, call, lost)
    return slot


def _new_free_slots(look: Callable[[], object]) -> FreeSlots:
    compiled = _compiled()
    free = PythonFreeSlots(look) if compiled is None else compiled.FreeSlots(look)
    return cast("FreeSlots", free)


def _compiled() -> ModuleType | None:
    """Returns the extension module if it has slots; the one for free-threaded Python has none."""
    compiled = ffi.compiled()
    return compiled if hasattr(compiled, "FreeSlots") else None


class Waiter(Protocol):
    """A call that waits for a slot. It receives a slot or an error, once, under the lock of :class:`Slots`."""

    slot: Slot | None
    error: Exception | None

    def wake(self) -> Slot | None:
        """Wakes the call, which has a slot or an error now. Returns the slot if the call has already completed.

        Raises:
            RuntimeError: The call can no longer run.
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

    @property
    def is_served(self) -> bool:
        """Whether it has received a slot or an error."""
        return self.slot is not None or self.error is not None

    def wait(self, timeout: float) -> bool:
        """Waits for some seconds at most; returns whether it has received a slot or an error."""
        return self._lock.acquire(timeout=timeout) or self.is_served


class Slots:
    """The slots of one plugin's workers. Thread-safe.

    Args:
        plugin: The plugin's id, for messages.
        lock: Guards everything except operations that need no lock. It is reentrant, because a finaliser can run at any
            point.
        admit: Called under the lock with the timeout and the deadline of a call before it waits; raises to reject it.
        retire: Ends a worker whose slot the caller holds; also takes whether the worker has replied.

    Attributes:
        free: The free slots.
        waiting: The waiting calls, in order of arrival.
        given_back: Notified when a slot is retired, or given back while the list is attentive.
    """

    def __init__(
        self,
        plugin: str,
        lock: threading.RLock,
        admit: Callable[[float | None, float | None], object],
        retire: Callable[[Worker, bool], object],
    ) -> None:
        self.plugin = plugin
        self.free = _new_free_slots(self.look)
        self.waiting: deque[Waiter] = deque()
        self.given_back = threading.Condition(lock)
        self._lock = lock
        self._admit = admit
        self._retire = retire
        self._doomed: set[Worker] = set()  # workers that have ended while their slots were held
        self._closing = False

    def wait(self, timeout: float | None) -> tuple[Slot, float | None]:
        """Waits for a slot; returns it with the rest of the timeout, in seconds.

        Raises:
            PluginTimeout: No slot was free in time.
            PluginUnavailable, PluginStateError: The call may not wait, or no worker will start.
        """
        until = deadline(timeout)
        waiter = ThreadWaiter()
        try:
            self.join(waiter, timeout, until)
            while not waiter.wait(_CHECK if (left := remaining(until)) is None else min(left, _CHECK)) and left != 0.0:
                self._check(waiter)
            if waiter.error is not None:
                raise waiter.error
            left = None if until is None else until - time.monotonic()
            if waiter.slot is not None and (left is None or left > 0):
                return waiter.slot, left
            raise self.nothing_was_free(timeout)
        except BaseException:
            self.leave(waiter)
            raise

    def join(self, waiter: Waiter, timeout: float | None, until: float | None) -> None:
        """Adds a waiter to the queue, and wakes it at once if a slot is free.

        Args:
            waiter: The waiter.
            timeout: Its timeout in seconds, or ``None``.
            until: Its deadline.

        Raises:
            PluginTimeout, PluginUnavailable, PluginStateError: It may not wait.
        """
        with self._lock:
            self._admit(timeout, until)
            self.waiting.append(waiter)
            self._attend()
            self._dispatch()

    def leave(self, waiter: Waiter) -> None:
        """Removes a waiter that gives up from the queue, or takes back the slot that it has just received."""
        with self._lock, contextlib.suppress(ValueError):
            self.waiting.remove(waiter)
            self._attend()
        slot, waiter.slot = waiter.slot, None
        if slot is not None:
            self.free.give(slot)

    def refuse(self, error: Exception) -> None:
        """Makes all waiting calls fail; under the lock."""
        while self.waiting:
            waiter = self.waiting.popleft()
            waiter.error = error
            with contextlib.suppress(RuntimeError):
                waiter.wake()
        self._attend()

    def give(self, slot: Slot) -> None:
        """Gives a slot back, or retires its worker if the worker cannot take another call."""
        if slot.worker.channel.is_open:
            self.retire(slot)
        else:
            self.free.give(slot)

    def retire(self, slot: Slot) -> None:
        """Ends the worker of a slot that the caller holds."""
        with self._lock:
            self._doomed.discard(slot.worker)
            self._attend()
            self._retire(slot.worker, slot.returns > 1)
            self.given_back.notify_all()

    def doom(self, worker: Worker) -> bool:
        """Records that a worker has ended, so that its slot is retired: now, or when it is given back.

        Returns:
            Whether the slot was free.
        """
        with self._lock:
            self._doomed.add(worker)
            self._attend()
            slot = self.free.remove(worker)
            if slot is None:
                return False
            self.retire(slot)
            return True

    def close(self) -> None:
        """Makes every slot that is given back from now on notify :attr:`given_back`; under the lock."""
        self._closing = True
        self._attend()

    def look(self) -> None:
        """Retires ended workers whose slots are free, and assigns the other free slots to waiting calls."""
        with self._lock:
            for worker in tuple(self._doomed):
                if (slot := self.free.remove(worker)) is not None:
                    self.retire(slot)
            self._dispatch()
            self.given_back.notify_all()

    def nothing_was_free(self, timeout: float | None) -> PluginTimeout:
        """Creates the exception for a call that got no slot in time."""
        within = "in time" if timeout is None else f"within {timeout:g} s"
        return PluginTimeout(f"no worker process was free {within}", plugin=self.plugin)

    def _dispatch(self) -> None:
        """Assigns free slots to waiting calls; under the lock."""
        slot: Slot | None = None
        while self.waiting:
            if slot is None and (slot := self.free.pop()) is None:
                break
            if slot.worker in self._doomed:
                self.retire(slot)
                slot = None
                continue
            waiter = self.waiting[0]
            waiter.slot = slot
            self.waiting.popleft()
            try:
                slot = waiter.wake()
            except RuntimeError:  # its event loop is closed, so it will never run
                waiter.slot = None
        self._attend()
        if slot is not None:
            self.free.give(slot)

    def _check(self, waiter: ThreadWaiter) -> None:
        """Puts a waiter back at the head of the queue if it is neither served nor queued, and serves the queue."""
        with self._lock:
            if not waiter.is_served and waiter not in self.waiting:
                self.waiting.appendleft(waiter)
            self._attend()
            self._dispatch()

    def _attend(self) -> None:
        """Updates whether the list is attentive; under the lock."""
        self.free.attentive = self._closing or bool(self.waiting or self._doomed)
