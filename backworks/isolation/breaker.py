"""A circuit breaker, as a table of states and events.

Theory of operation. While the breaker is *closed* every call is let in, and those that fail in a row are counted: a
call that succeeds is proof that the plugin does its work, and starts the count anew. Where enough of them lie within
the window it *opens* and refuses all calls. After a while it is *half-open*: a few calls, the probes, are let in, and
the others refused still. If all probes succeed it closes; if one fails it opens again, for as long as before.

What a call came to counts only in the period in which the call was let in: one that was begun before the breaker opened
says nothing about the plugin of now. A call that was let in and never begun (refused by something else, or given up by
its caller) has no verdict; a probe's place is free again then.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.settings import Breaker

__all__ = ["TRANSITIONS", "CircuitBreaker", "Position"]


class Position(StrEnum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


#: (position, event) -> next position
TRANSITIONS = {
    (Position.CLOSED, "too many failed"): Position.OPEN,
    (Position.OPEN, "time is over"): Position.HALF_OPEN,
    (Position.HALF_OPEN, "probe failed"): Position.OPEN,
    (Position.HALF_OPEN, "probes succeeded"): Position.CLOSED,
}


class CircuitBreaker:
    """Lets calls in, or not. Thread-safe; a call of a plugin that does its work takes no lock.

    Args:
        settings: The numbers.
        moved: Told the event of each change of position, as the table names it; outside of all locks.
        noted: Told the period and whether the breaker is *calm* (closed, and the last call has not failed) whenever one
            of them changes, under the breaker's lock. While it is calm, :meth:`enter` and :meth:`succeed` need not be
            called.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        settings: Breaker,
        *,
        moved: Callable[[str], object] = lambda _event: None,
        noted: Callable[[int, bool], object] = lambda _period, _calm: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._moved = moved
        self._noted = noted
        self._clock = clock
        self._lock = threading.Lock()
        self._position = Position.CLOSED
        self._period = 0
        self._failed_at: deque[float] = deque(maxlen=settings.failures)
        self._calm = True
        self._open_until = 0.0
        self._probing = 0
        self._succeeded = 0

    @property
    def position(self) -> Position:
        """What it does with calls. One that is open stays so until the first call after its time."""
        return self._position

    @property
    def retry_after(self) -> float:
        """Seconds until it lets calls in again; 0 where it does."""
        return max(0.0, self._open_until - self._clock()) if self._position is Position.OPEN else 0.0

    def enter(self) -> int | None:
        """Lets a call in.

        Returns:
            The period, to be given to one of :meth:`succeed`, :meth:`fail` and :meth:`withdraw` when the call is over;
            ``None`` if the call is refused.
        """
        if self._position is Position.CLOSED:
            return self._period
        with self._lock:
            moved = self._position is Position.OPEN and self._clock() >= self._open_until
            if moved:
                self._move("time is over")
            period = self._let_in()
        if moved:
            self._moved("time is over")
        return period

    def succeed(self, period: int) -> None:
        """Notes that the call of a period succeeded."""
        if self._calm:
            return
        with self._lock:
            if period != self._period or self._position is Position.OPEN:
                return
            if self._position is Position.CLOSED:
                self._failed_at.clear()
                self._set_calm(True)
                return
            self._probing -= 1
            self._succeeded += 1
            if self._succeeded < self._settings.probes:
                return
            self._move("probes succeeded")
        self._moved("probes succeeded")

    def fail(self, period: int) -> None:
        """Notes that the call of a period failed."""
        with self._lock:
            if period != self._period or self._position is Position.OPEN:
                return
            now = self._clock()
            if self._position is Position.CLOSED:
                self._set_calm(False)
                self._failed_at.append(now)
                enough = len(self._failed_at) == self._settings.failures
                if not enough or now - self._failed_at[0] > self._settings.window:
                    return
                event = "too many failed"
            else:
                event = "probe failed"
            self._move(event)
            self._open_until = now + self._settings.open
        self._moved(event)

    def withdraw(self, period: int) -> None:
        """Notes that the call of a period came to nothing."""
        if self._position is Position.HALF_OPEN:
            with self._lock:
                if period == self._period and self._position is Position.HALF_OPEN:
                    self._probing -= 1

    def _let_in(self) -> int | None:
        if self._position is Position.HALF_OPEN:
            if self._probing + self._succeeded >= self._settings.probes:
                return None
            self._probing += 1
        return self._period if self._position is not Position.OPEN else None

    def _move(self, event: str) -> None:
        self._position = TRANSITIONS[self._position, event]
        self._period += 1
        self._failed_at.clear()
        self._probing = self._succeeded = 0
        self._set_calm(self._position is Position.CLOSED)

    def _set_calm(self, calm: bool) -> None:
        self._calm = calm
        self._noted(self._period, calm)
