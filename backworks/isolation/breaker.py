"""A circuit breaker, as a table of states and events.

Theory of operation. While the breaker is *closed*, it admits every call and counts consecutive failures; a call that
succeeds proves that the plugin works and resets the count. When enough failures lie within the window, the breaker
*opens* and rejects all calls. After a time it is *half-open*: it admits a few calls, the probes, and still rejects all
others. If all probes succeed, it closes; if one fails, it opens again for the same time.

The result of a call only counts in the period in which the call was admitted, because a call from before the breaker
opened says nothing about the plugin's current condition. A call that was admitted but never began (rejected for another
reason, or abandoned by its caller) has no result; if it was a probe, another call can take its place.
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
    """The state of a circuit breaker."""

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
    """Admits or rejects calls. Thread-safe; calls to a plugin that works take no lock.

    Args:
        settings: The settings.
        moved: Called with the event of each transition, as named in the table; outside all locks.
        noted: Called with the period and whether the breaker is *calm* (closed, and the last call has not failed)
            whenever one of them changes, under the breaker's lock. While it is calm, :meth:`enter` and :meth:`succeed`
            need not be called.
        clock: Returns the time in seconds.
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
        """Its state. An open breaker only becomes half-open with the first call after its time has passed."""
        return self._position

    @property
    def retry_after(self) -> float:
        """How many seconds remain until an open breaker admits calls again, or 0."""
        return max(0.0, self._open_until - self._clock()) if self._position is Position.OPEN else 0.0

    def enter(self) -> int | None:
        """Admits or rejects a call.

        Returns:
            The period, which the caller passes to :meth:`succeed`, :meth:`fail` or :meth:`withdraw` at the end of the
            call; ``None`` if the call is rejected.
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
        """Records that a call admitted in a period has succeeded."""
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
        """Records that a call admitted in a period has failed."""
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
        """Records that a call admitted in a period has no result."""
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
