"""The life of a plugin instance, as a table.

Theory of operation. An instance is *running* from its successful init. A call enters and leaves; while at least one
call that was given up has not left, the instance is *quarantined* and lets no other in. Close lets no new call in
(*closing*), waits until the last one has left, and only then may the plugin's shutdown run: that is what the header
promises. Calls that C lets in without asking pass a gate of their own, which close stops and waits for in the same way.
If the wait is given up the instance is *abandoned*: its shutdown is never called, since a call may still run
in it. An event that the table does not have for a state changes nothing and raises.
"""

from __future__ import annotations

import threading
import time
from enum import StrEnum
from typing import Protocol

from backworks.errors import PluginStateError, PluginUnavailable

__all__ = [
    "MAX_TIMEOUT",
    "TRANSITIONS",
    "Gate",
    "Lifecycle",
    "State",
    "Ticket",
    "check_timeout",
    "deadline",
    "refusal",
    "remaining",
]

#: The longest timeout, in seconds: 46 days, which the locks of every system can wait.
MAX_TIMEOUT = 4_000_000


class State(StrEnum):
    """What a plugin is doing."""

    RUNNING = "running"
    QUARANTINED = "quarantined"
    CLOSING = "closing"
    CLOSED = "closed"
    ABANDONED = "abandoned"
    RESTARTING = "restarting"  # these two only with worker processes: none lives, but will soon,
    STOPPED = "stopped"  # or will not any more


#: (state, event) -> next state
TRANSITIONS = {
    (State.RUNNING, "call overran"): State.QUARANTINED,
    (State.QUARANTINED, "call overran"): State.QUARANTINED,
    (State.QUARANTINED, "calls returned"): State.RUNNING,
    (State.RUNNING, "close"): State.CLOSING,
    (State.QUARANTINED, "close"): State.CLOSING,
    (State.CLOSING, "call overran"): State.CLOSING,
    (State.CLOSING, "calls returned"): State.CLOSING,
    (State.CLOSING, "shut down"): State.CLOSED,
    (State.CLOSING, "gave up"): State.ABANDONED,
    (State.ABANDONED, "call overran"): State.ABANDONED,
    (State.ABANDONED, "calls returned"): State.ABANDONED,
}


def check_timeout(timeout: float | None) -> None:
    """Checks a timeout, which is in seconds; ``None`` is no limit.

    Raises:
        ValueError: It is negative, not a number, or longer than any system can wait.
    """
    if timeout is not None and not 0 <= timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout is {timeout!r}; it takes 0 to {MAX_TIMEOUT} seconds, or None for no limit")


def deadline(timeout: float | None) -> float | None:
    """Returns when a timeout that starts now will be over, of ``time.monotonic()``; raises as :func:`check_timeout`."""
    check_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout


def remaining(until: float | None) -> float | None:
    """Returns how many seconds are left until a deadline, never less than 0."""
    return None if until is None else max(0.0, until - time.monotonic())


def refusal(plugin: str, state: State) -> PluginUnavailable | PluginStateError:
    """Makes the exception of a call that is not let in.

    Args:
        plugin: The plugin's id.
        state: What it was doing.
    """
    if state is State.QUARANTINED:
        return PluginUnavailable(
            "a call that overran its time has not returned yet, and nothing else runs until it does", plugin=plugin
        )
    return PluginStateError(f"{plugin}: called while it is {state}; load it again to use it", plugin=plugin)


class Ticket:
    """One call that is inside."""

    __slots__ = ("inside", "lost")

    def __init__(self) -> None:
        self.inside = True
        self.lost = False


class Gate(Protocol):
    """Counts calls that do not pass :meth:`Lifecycle.enter`: a ``_native.Caller``."""

    @property
    def inside(self) -> int:
        """How many calls are inside."""
        ...

    def stop(self) -> None:
        """Lets no new call in."""
        ...

    def drain(self, timeout: float | None, /) -> bool:
        """Waits, after :meth:`stop`, until no call is inside, and tells whether that is so; may return too early."""
        ...


class Lifecycle:
    """The state of one instance, and the count of the calls that are in it. Thread-safe.

    Attributes:
        gate: Where other calls enter, if they do; set before the first one does.

    Args:
        plugin: The plugin's id, for messages.
    """

    def __init__(self, plugin: str) -> None:
        self.gate: Gate | None = None
        self._plugin = plugin
        self._state = State.RUNNING
        self._inside = 0
        self._lost = 0
        self._changed = threading.Condition(threading.Lock())

    @property
    def state(self) -> State:
        """The state at this moment."""
        return self._state

    @property
    def in_flight(self) -> int:
        """How many calls are in the plugin, those that were given up included."""
        return self._inside + (self.gate.inside if self.gate is not None else 0)

    def enter(self) -> Ticket:
        """Lets one call in.

        Raises:
            PluginUnavailable: The plugin is quarantined.
            PluginStateError: The plugin is closing or closed.
        """
        with self._changed:
            if self._state is State.RUNNING:
                self._inside += 1
                return Ticket()
            raise self.refusal()

    def refusal(self) -> PluginUnavailable | PluginStateError:
        """Makes the exception of a call that is not let in."""
        return refusal(self._plugin, self._state)

    def leave(self, ticket: Ticket) -> None:
        """Lets the call out that has this ticket."""
        with self._changed:
            ticket.inside = False
            self._inside -= 1
            if ticket.lost:
                self._lost -= 1
                if not self._lost:
                    self._move("calls returned")
            if not self._inside:
                self._changed.notify_all()

    def lose(self, ticket: Ticket) -> None:
        """Notes that a call was given up; if it has left meanwhile, there is nothing to note."""
        with self._changed:
            if ticket.inside:
                ticket.lost = True
                self._lost += 1
                self._move("call overran")

    def close(self, timeout: float | None) -> bool:
        """Lets no new call in and waits for those inside.

        Args:
            timeout: Seconds to wait, or ``None`` to wait as long as it takes.

        Returns:
            Whether the caller has to shut the plugin down now, and then call :meth:`closed` or :meth:`abandon`. It has
            not if another did so before, or if the wait was given up.

        Raises:
            ValueError: The timeout is none.
        """
        until = deadline(timeout)
        empty = False
        with self._changed:
            if self._state not in (State.RUNNING, State.QUARANTINED):
                self._changed.wait_for(lambda: self._state is not State.CLOSING, remaining(until))
                return False
            self._move("close")
            if self.gate is not None:
                self.gate.stop()
        try:
            empty = self._wait_until_empty(until)
        finally:
            if not empty:
                self.abandon()
        return empty

    def closed(self) -> None:
        """Notes that the plugin's shutdown has returned."""
        with self._changed:
            self._move("shut down")
            self._changed.notify_all()

    def abandon(self) -> None:
        """Notes that the plugin's shutdown does not return."""
        with self._changed:
            self._move("gave up")
            self._changed.notify_all()

    def _wait_until_empty(self, until: float | None) -> bool:
        with self._changed:
            empty = self._changed.wait_for(lambda: not self._inside, remaining(until))
        while empty and self.gate is not None:
            left = remaining(until)
            if self.gate.drain(left):
                break
            empty = left != 0.0
        return empty

    def _move(self, event: str) -> None:
        try:
            self._state = TRANSITIONS[self._state, event]
        except KeyError:
            raise PluginStateError(
                f"{self._plugin}: {event!r} cannot happen while it is {self._state}", plugin=self._plugin
            ) from None
