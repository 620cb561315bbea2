"""The interface of runners, which make the calls that :class:`~backworks.isolation.admission.Admission` admits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from backworks.errors import PluginStateError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.isolation.admission import Admission, Ending, State

__all__ = ["Runner", "called_by_itself", "encode"]


class Runner(Protocol):
    """Makes the calls of one instance and ends it.

    Calls raise the exceptions of the engine, and also:

    * ``PluginTimeout``: The call did not return in time, if the isolation can enforce a timeout.
    * ``PluginUnavailable``: The plugin does not accept calls at present.
    * ``PluginStateError``: The call would wait for the call from which it was made.
    * ``ValueError``: The timeout is not valid.
    """

    @property
    def state(self) -> State:
        """The state while the plugin is open: *running* in the absence of faults."""
        ...

    @property
    def in_flight(self) -> int:
        """The number of calls in flight, including abandoned ones."""
        ...

    @property
    def is_inherited(self) -> bool:
        """Whether it belongs to the parent process from which this one was forked; only the parent can end it."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why the state is not *running* although the plugin is open, for operators; ``None`` if it is."""
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
        """Makes a call, with a timeout in seconds or ``None``."""
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
        """Like :meth:`process`, for use in an event loop."""
        ...

    def health_check(self, timeout: float | None) -> Reply:
        """Runs the plugin's health check."""
        ...

    def flush_log(self, timeout: float | None) -> bool:
        """Waits until the records logged so far have reached ``logging``; returns whether they have."""
        ...

    def drop(self, admission: Admission) -> None:
        """Closes a plugin that nothing refers to, without waiting, if that needs no call of the plugin in this thread.

        A finalizer calls this, in any thread and at any point.
        """
        ...

    def stop(self) -> None:
        """Prepares for the end: no new calls will come, and nothing is started any more.

        Raises:
            PluginStateError: The runner cannot be ended from this thread.
        """
        ...

    def end(self, until: float | None, *, empty: bool) -> Ending:
        """Shuts the instance down, once, after :meth:`stop`.

        Args:
            until: The deadline by ``time.monotonic()``, or ``None`` for no limit.
            empty: Whether all calls have returned.
        """
        ...


def called_by_itself(plugin: str) -> PluginStateError:
    """Creates the exception for a call that would wait for the call from which it was made, as in a log handler."""
    return PluginStateError(
        f"{plugin}: called from within its own call, and no other slot is free; call it after that call has returned",
        plugin=plugin,
    )


def encode(value: str | Buffer, encoding: str = "utf-8") -> bytes:
    """Returns text or any buffer as bytes."""
    if isinstance(value, str):
        return value.encode(encoding)
    return value if isinstance(value, bytes) else bytes(memoryview(value))
