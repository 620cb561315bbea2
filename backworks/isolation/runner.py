"""What every kind of isolation offers to :class:`backworks.Plugin`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from backworks.errors import PluginStateError
from backworks.ffi.contract import Reply

if TYPE_CHECKING:
    from backworks.lifecycle import State

__all__ = ["Job", "Runner", "called_by_itself", "nanoseconds"]

#: One call into the plugin. Takes the nanoseconds that are left for it, 0 for no limit.
Job = Callable[[int], Reply]


class Runner(Protocol):
    """Runs calls of one instance and ends it."""

    @property
    def state(self) -> State:
        """The state at this moment."""
        ...

    @property
    def in_flight(self) -> int:
        """How many calls are in the plugin."""
        ...

    def run(self, job: Job, timeout: float | None) -> Reply:
        """Runs a job and returns its reply.

        Args:
            job: The call.
            timeout: Seconds for it, or ``None``.

        Raises:
            PluginTimeout: It did not return in time (where this isolation can tell).
            PluginUnavailable: The plugin takes no calls now.
            PluginStateError: The plugin is closing or closed.
        """
        ...

    async def run_async(self, job: Job, timeout: float | None) -> Reply:
        """As :meth:`run`, from an event loop."""
        ...

    def close(self, timeout: float | None) -> bool:
        """Waits for the calls inside and shuts the instance down, once.

        Args:
            timeout: Seconds for all of it, or ``None`` to wait as long as it takes.

        Returns:
            Whether the instance is shut down.
        """
        ...


def called_by_itself(plugin: str) -> PluginStateError:
    """Returns what a call gets that would wait for the call which it was made from, for instance by a log handler."""
    return PluginStateError(
        f"{plugin}: called from within its own call, although it takes one at a time; call it after that has returned",
        plugin=plugin,
    )


def nanoseconds(timeout: float | None) -> int:
    """Writes a timeout as the header has it: 0 for none."""
    return 0 if timeout is None else max(1, int(timeout * 1e9))
