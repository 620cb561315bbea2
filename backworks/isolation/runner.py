"""What makes the calls of one plugin, behind its :class:`~backworks.isolation.admission.Admission`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from backworks.errors import PluginStateError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.isolation.admission import Ending, State

__all__ = ["Runner", "called_by_itself", "encode"]


class Runner(Protocol):
    """Makes calls of one instance and ends it.

    The calls raise what the engine raises, and also:

    * ``PluginTimeout``: It did not return in time (where this isolation can tell).
    * ``PluginUnavailable``: The plugin takes no calls now.
    * ``PluginStateError``: The call would wait for the one that it was made from.
    * ``ValueError``: The timeout is not a number of seconds.
    """

    @property
    def state(self) -> State:
        """The state while the plugin is open: *running* where nothing is wrong."""
        ...

    @property
    def in_flight(self) -> int:
        """How many calls it makes, with those that nobody waits for any more."""
        ...

    @property
    def is_inherited(self) -> bool:
        """Whether it belongs to the process that this one was forked off, which alone can end it."""
        ...

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        """Makes a call, within a timeout in seconds if that is not ``None``."""
        ...

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        """As :meth:`process`, from an event loop."""
        ...

    def health_check(self, timeout: float | None) -> Reply:
        """Asks the plugin how it is."""
        ...

    def stop(self) -> None:
        """Takes note that no new call comes; starts nothing any more.

        Raises:
            PluginStateError: It cannot be ended from this thread.
        """
        ...

    def end(self, until: float | None, *, empty: bool) -> Ending:
        """Shuts the instance down, once, after :meth:`stop`.

        Args:
            until: The deadline by ``time.monotonic()``, or ``None`` to wait as long as it takes.
            empty: Whether every caller has left.
        """
        ...


def called_by_itself(plugin: str) -> PluginStateError:
    """Makes the exception of a call that would wait for the call that it was made from, as a log handler may do."""
    return PluginStateError(
        f"{plugin}: called from within its own call, while it takes no more at a time; call it after that has returned",
        plugin=plugin,
    )


def encode(value: str | Buffer, encoding: str = "utf-8") -> bytes:
    """Returns text or any buffer as bytes."""
    if isinstance(value, str):
        return value.encode(encoding)
    return value if isinstance(value, bytes) else bytes(memoryview(value))
