"""The life of a plugin instance, as a table.

Theory of operation. An instance is *running* from its successful init. A call enters and leaves; while at least one
call that was given up has not left, the instance is *quarantined* and lets no other in. Close lets no new call in
(*closing*), waits until the last one has left, and only then may the plugin's shutdown run: that is what the header
promises. If the wait is given up the instance is *abandoned*: its shutdown is never called, since a call may still run
in it. An event that the table does not have for a state changes nothing and raises.
"""

from __future__ import annotations

import threading
import time
from enum import StrEnum

from backworks.errors import PluginStateError, PluginUnavailable

__all__ = ["TRANSITIONS", "Lifecycle", "State", "Ticket"]


class State(StrEnum):
    """What a plugin is doing."""

    RUNNING = "running"
    QUARANTINED = "quarantined"
    CLOSING = "closing"
    CLOSED = "closed"
    ABANDONED = "abandoned"


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


class Ticket:
    """One call that is inside."""

    __slots__ = ("inside", "lost")

    def __init__(self) -> None:
        self.inside = True
        self.lost = False


class Lifecycle:
    """The state of one instance, and the count of the calls that are in it. Thread-safe.

    Args:
        plugin: The plugin's id, for messages.
    """

    def __init__(self, plugin: str) -> None:
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
        return self._inside

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
        if self._state is State.QUARANTINED:
            raise PluginUnavailable(
                "a call that overran its time has not returned yet, and nothing else runs until it does",
                plugin=self._plugin,
            )
        raise PluginStateError(
            f"{self._plugin}: called while it is {self._state}; load it again to use it", plugin=self._plugin
        )

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
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            first = self._state in (State.RUNNING, State.QUARANTINED)
            if first:
                self._move("close")
            while self._state is State.CLOSING and (self._inside or not first):
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    if first:
                        self._move("gave up")
                        self._changed.notify_all()
                    return False
                self._changed.wait(left)
            return first and self._state is State.CLOSING

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

    def _move(self, event: str) -> None:
        try:
            self._state = TRANSITIONS[self._state, event]
        except KeyError:
            raise PluginStateError(
                f"{self._plugin}: {event!r} cannot happen while it is {self._state}", plugin=self._plugin
            ) from None
