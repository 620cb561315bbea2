"""What all connections have in common, whichever parser they use: limits, and an end that the client can read.

uvicorn's classes close a connection as soon as they have responded. If the client is still sending then, the operating
system resets the connection, and the client loses the response: a client that writes its whole request before it reads
sees a broken pipe instead of 413. Here, such a connection only ends its own direction. It reads and discards what the
client sends, up to a limit of bytes and time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from backworks.http.asgi import Answer, parts
from backworks.http.metrics import UNMATCHED
from backworks.http.problems import problem, title
from backworks.http.watch import Stage, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.http.app import HttpApp

__all__ = ["INVALID", "Connection", "line"]

#: How many bytes to discard of what a client sends after the last response.
_DISCARDED = 1 << 25

#: The response to a request that the parser refuses.
INVALID = problem(400, "the request is not valid HTTP/1.1")


class Connection(asyncio.Protocol):
    """A mixin for uvicorn's classes.

    Attributes:
        watch: The limits of all connections.
        seen: What the connection waited for at the last look.
        seen_at: The time when that began.
        deaf: Whether to discard all further data.
    """

    watch: ClassVar[Watch]

    # Of uvicorn's classes:
    app: Any
    config: Any
    connections: set[Any]
    cycle: Any
    flow: Any
    server_state: Any
    transport: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._app = cast("HttpApp", self.config.app)
        self.seen: tuple[Stage, object] | None = None
        self.seen_at = 0.0
        self.deaf = False
        self._discarded = 0
        self._stops = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("Any", _Transport(cast("asyncio.Transport", transport), self._end)))
        self.watch.admit(self, len(self.connections))

    def connection_lost(self, error: Exception | None) -> None:
        self.watch.release(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            self.discard(data)
        else:
            super().data_received(data)

    def shutdown(self) -> None:
        """Closes the connection, or lets its request in flight be the last."""
        self._stops = True
        if self.transport.ended:
            self.abort()
        else:
            super().shutdown()  # type: ignore[misc]

    def waits(self) -> tuple[Stage, object]:
        """Returns what the connection waits for, and a value that changes when the client makes progress."""
        if self.transport.ended:
            return Stage.END, 0
        if size := self.transport.get_write_buffer_size():
            return Stage.WRITE, size
        if self.flow.read_paused:
            return Stage.CALL, 0
        return self.reads()

    def reads(self) -> tuple[Stage, object]:
        """The same for a connection that reads."""
        raise NotImplementedError

    def is_partial(self) -> bool:
        """Whether a part of a request has arrived whose rest has not."""
        raise NotImplementedError

    def is_answered(self) -> bool:
        """Whether the request whose body arrives has its response already."""
        return self.cycle is not None and self.is_idle()

    def is_idle(self) -> bool:
        """Whether no request waits for its response."""
        return self.cycle is None or self.cycle.response_complete

    def restrict(self) -> None:
        """Responds to health checks only."""
        self.app = _HealthOnly(self._app)

    def expire(self, stage: Stage) -> None:
        """Closes the connection because the client has taken too long."""
        self._stops = True
        if stage in (Stage.WRITE, Stage.END):
            self.abort()
        elif self.is_partial() and not (stage is Stage.BODY and self.is_answered()):
            self.refuse(problem(408, "the request did not arrive in time"))
        else:
            self.transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        self.transport.abort()

    def refuse(self, answer: Answer) -> None:
        """Writes and counts the response to a request that does not reach the application, and ends the connection."""
        self._app.metrics.answered(UNMATCHED, "", answer.status)
        status, fields, body = parts(answer, head=False, close=True)
        head = b"".join(map(line, [*self.server_state.default_headers, *fields]))
        self.deaf = True
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, title(status).encode(), head, body))
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Responds to a request that the parser refuses; called by uvicorn."""
        self.refuse(INVALID)

    def _unsupported_upgrade_warning(self) -> None:
        """Logs nothing, unlike uvicorn: RFC 9110 allows a server to ignore any offer to upgrade."""

    def hang_up(self) -> None:
        """Ends the application's wait for the rest of a request or for a response."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def discard(self, data: bytes) -> None:
        """Discards data, up to a limit."""
        self._discarded += len(data)
        if self._discarded > _DISCARDED:
            self.abort()

    def _end(self) -> bool:
        """Prepares the end; returns whether the client may still be sending, so that it must be able to finish."""
        if self._stops or not (self.deaf or self.is_partial()):
            return False
        self.deaf = True
        self.flow.resume_reading()
        self.hang_up()
        return True


class _Transport:
    """A transport whose ``close()`` may leave the client's direction open, and whose methods do nothing after the end.

    uvloop's methods raise an exception if the connection is lost.

    Attributes:
        ended: Whether only the client's direction is open.
    """

    __slots__ = ("_end", "_transport", "ended", "get_extra_info", "get_write_buffer_size")

    def __init__(self, transport: asyncio.Transport, end: Callable[[], bool]) -> None:
        self._transport = transport
        self._end = end
        self.ended = False
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size

    def is_closing(self) -> bool:
        return self.ended or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.is_closing():
            self._transport.write(data)

    def pause_reading(self) -> None:
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        if self.is_closing():
            return
        if self._transport.can_write_eof() and self._end():
            self.ended = True
            with suppress(OSError):  # the client has closed its direction already
                self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class _HealthOnly:
    """The ASGI application of a connection in the reserve."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app.serve_health(scope, receive, send)


def line(field: tuple[bytes, bytes]) -> bytes:
    """Writes a header field."""
    return b"%b: %b\r\n" % field
