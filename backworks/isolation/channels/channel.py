"""What a way to a worker is: requests there, replies back.

Strictly one request is open at a time, and whoever holds the worker reads its reply himself: a synchronous caller waits
for it, an event loop watches for it. Nothing here takes a lock.

The path of a call: ``call`` writes the frame and waits, or ``begin`` writes it and ``advance`` looks, each time that
the ``watch`` fires, whether the reply is there. The path of an end: the supervisor ``notify``-s; who waits looks one
last time, because what was answered before the death is an answer, and raises
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

#: Seconds that one wait may take; the system's calls do not take any number.
LONGEST_WAIT = 3600.0


class Channel(Protocol):
    """The way to one worker. Used by one at a time, but for :meth:`notify`.

    What is raised: :exc:`Late`, :exc:`Gone`, :exc:`FrameError` (all three leave it unusable), ``ContractViolation``
    (the plugin's answer is broken, the channel is not), and ``TypeError`` or ``ValueError`` for arguments that cannot
    be sent, before anything is. The handler of a signal may raise anything at any time.
    """

    @property
    def is_open(self) -> bool:
        """Whether a request was sent whose reply was not taken."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether that reply is there, as far as it can be told without asking the system."""
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
        """Makes a call and waits for its reply, so many seconds if that is not ``None``."""
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
        """Begins a call. Returns its reply if that came in no time, or else ``None``."""
        ...

    def advance(self) -> Reply | None:
        """Returns the reply to what was begun, if it is there."""
        ...

    def watch(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Has an event loop call a function whenever :meth:`advance` may have something to do."""
        ...

    def unwatch(self) -> None:
        """Ends the watch; the function may be called once more."""
        ...

    def control(self, kind: int, payload: bytes, timeout: float | None) -> Reply:
        """Sends another frame than a CALL and waits for its reply."""
        ...

    def begin_control(self, kind: int, payload: bytes) -> None:
        """Sends another frame than a CALL."""
        ...

    def notify(self) -> None:
        """Tells that the worker has ended; from any thread."""
        ...

    def close(self) -> None:
        """Closes the host's ends; nobody uses it any more."""
        ...
