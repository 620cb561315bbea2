"""The interface of channels, which carry requests to a worker and replies back.

At most one request is open at a time. The holder of the worker reads the reply: a synchronous caller waits for it, an
event loop watches for it. Nothing here takes a lock.

The path of a call: ``call`` writes the frame and waits. Or ``begin`` writes it, and ``advance`` checks for the reply
each time that the ``watch`` fires. The path of an end: the supervisor calls ``notify``. The waiting caller checks one
last time, because a reply sent before the worker's end is valid, and then raises
:exc:`~backworks.isolation.process.codec.Gone`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply

__all__ = ["LONGEST_WAIT", "Channel"]

#: The longest single wait in seconds, because system calls limit their timeouts.
LONGEST_WAIT = 3600.0


class Channel(Protocol):
    """The channel to one worker. Only its holder may use it, except for :meth:`notify`.

    Its methods raise :exc:`Late`, :exc:`Gone` and :exc:`FrameError`, after which the channel is unusable;
    ``ContractViolation`` for an invalid response, after which it is still usable; and ``TypeError`` or ``ValueError``
    for arguments that cannot be sent, before anything is sent. A signal handler can raise any exception at any time.
    """

    @property
    def is_open(self) -> bool:
        """Whether a request was sent and its reply has not been read."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether the reply has arrived, as far as that can be determined without a system call."""
        ...

    def call(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        """Makes a call and waits for its reply, with a timeout in seconds or ``None``."""
        ...

    def begin(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply | None:
        """Begins a call. Returns its reply if that arrives immediately, or else ``None``."""
        ...

    def advance(self) -> Reply | None:
        """Returns the reply to the open request if it has arrived."""
        ...

    def watch(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Makes an event loop call a function whenever :meth:`advance` may make progress."""
        ...

    def unwatch(self) -> None:
        """Ends the watch; the function may be called once more."""
        ...

    def control(self, kind: int, payload: bytes, timeout: float | None) -> Reply:
        """Sends a frame other than CALL and waits for its reply."""
        ...

    def begin_control(self, kind: int, payload: bytes) -> None:
        """Sends a frame other than CALL."""
        ...

    def notify(self) -> None:
        """Reports that the worker has ended; can be called from any thread."""
        ...

    def close(self) -> None:
        """Closes the host's ends; the channel must not be used afterwards."""
        ...
