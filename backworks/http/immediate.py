"""A subclass of uvicorn's HTTP/1.1 connection that responds immediately to requests that need not wait.

The path of a request to :class:`backworks.http.app.HttpApp`: (1) The parser has read the head. If the connection is
busy, will not be kept alive, or the client expects a response before it sends the body, uvicorn handles the request.
(2) The parser has read the whole request. If the body is large or of unknown size and has not arrived yet, uvicorn
handles the request as well. (3) The application's coroutine runs its first step here, without a task. (4) If that
completes it, head and content leave in one write. (5) If it waits, a task continues it, and the request takes the place
of uvicorn's current request: pipelined requests wait for it, and uvicorn notifies it when the client disconnects or the
server shuts down.

uvicorn's parser buffers a request line, header fields, the extension of a chunk and the trailer without a limit: 66 MiB
of header fields took 480 MiB of memory. This class limits them.

Methods that run for every request call uvicorn's class by name, because ``super()`` takes longer.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from backworks.http.asgi import JSON, Answer, parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, MutableMapping

    from backworks.http.app import HttpApp

__all__ = ["MAX_GATHERED", "ImmediateProtocol"]

#: How many bytes may arrive without completing a head or adding to a body; more data then closes the connection. This
#: is the limit of h11, uvicorn's other parser.
MAX_GATHERED = 1 << 16

#: How many requests from one piece of data to handle immediately. The rest waits in uvicorn's pipeline, so that a
#: client that sends thousands does not delay the others.
_AT_ONCE = 16
#: The largest request body to buffer here, and the largest response content to copy into one buffer with the head.
_SMALL = 1 << 16

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Way(Enum):
    """The state of the request being parsed: none, head incomplete, handled here, or handled by uvicorn."""

    NONE = auto()
    HEAD = auto()
    HERE = auto()
    UVICORN = auto()


#: Looked up once, because access to an enumeration's members is slow in CPython 3.11.
_NONE, _HEAD, _HERE, _UVICORN = _Way


class ImmediateProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._app = cast("HttpApp", self.config.app)
        self._way = _NONE
        self._gathered = 0
        self._left = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._waiting = _Waiting()
        self._answered_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._date = self._plain = b""

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._way is _HERE:
            self._leave()
        super().connection_lost(error)

    def shutdown(self) -> None:
        if self._way is _HERE:
            self._leave()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._gathered > MAX_GATHERED:
            if self._way is _HEAD:
                self.transport.write(_TOO_LARGE)
            self.transport.close()
            return
        self._gathered += len(data)
        self._left = _AT_ONCE
        self._answered_at = None
        HttpToolsProtocol.data_received(self, data)
        if self._way is _HERE:
            self._wait_for_body()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._way = _HEAD
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._gathered = 0
        # Fields of a trailer must not be mistaken for header fields.
        self._fields, self.headers = self.headers, []
        self._body = []
        if self.transport.is_closing():
            self._way = _NONE
        elif self._left and self._is_simple():
            self._left -= 1
            self._way = _HERE
        else:
            self._leave()

    def on_body(self, body: bytes) -> None:
        self._gathered = 0
        if self._way is _HERE:
            self._body.append(body)
        elif self._way is _UVICORN:
            HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        if self._way is _HERE:
            self._begin()
        elif self._way is _UVICORN:
            HttpToolsProtocol.on_message_complete(self)
        self._way = _NONE

    def _is_simple(self) -> bool:
        parser, url = self.parser, self.url
        return (
            self._is_idle()
            and not self.flow.write_paused
            and not self.expect_100_continue
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and url.startswith(b"/")
            and b"#" not in url
            and url.isascii()
        )

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]

    def _wait_for_body(self) -> None:
        """Waits for the rest of a body, or leaves that to uvicorn."""
        if self.transport.is_closing():  # the data was not HTTP
            self._way = _NONE
            return
        most = min(_SMALL, self._app.config.server.max_body)
        length = next((value for name, value in self._fields if name == b"content-length"), None)
        if length is None or int(length) > most:
            self._leave()

    def _leave(self) -> None:
        """Passes the request to uvicorn, with the part of its body that has arrived."""
        url, expects = self.url, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers += self._fields
        HttpToolsProtocol.on_headers_complete(self)
        self.headers = []
        self._way = _UVICORN
        for piece in self._body:
            HttpToolsProtocol.on_body(self, piece)

    def _begin(self) -> None:
        """Runs the first step of a request."""
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "root_path": "",
            "query_string": query,
            "headers": self._fields,
        }
        request = self._app.answer(scope, self._waiting, b"".join(self._body))
        head = scope["method"] == "HEAD"
        try:
            future = request.send(None)
        except StopIteration as end:
            self._write(end.value, head=head)
            return
        self.cycle = waiting = self._waiting  # type: ignore[assignment]
        self._waiting = _Waiting()
        task = self.loop.create_task(self._finish(waiting, self._app.resume(request, future), head=head))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _finish(self, waiting: _Waiting, request: Awaitable[Answer | bytes | None], *, head: bool) -> None:
        """Continues a request that waits."""
        try:
            answer = await request
        except BaseException:  # the shutdown timeout has expired
            self.transport.close()
            raise
        finally:
            waiting.response_complete = True
        if answer is not None and not self.transport.is_closing():
            self._write(answer, head=head, last=not waiting.keep_alive)
        if self.pipeline:
            self.on_response_complete()

    def _write(self, answer: Answer | bytes, *, head: bool, last: bool = False) -> None:
        """Writes a response exactly as uvicorn does."""
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            self._date = b"".join(map(_line, self._default_headers))
            self._plain = b"%b%bcontent-type: %b\r\ncontent-length: " % (STATUS_LINE[200], self._date, JSON)
        if answer.__class__ is bytes and answer and not (head or last):  # the usual case, with the result of parts()
            self._send(b"%b%d\r\n\r\n" % (self._plain, len(answer)), answer)
            self._stay()
            return
        status, fields, body = parts(answer, head=head, close=last)
        self._send(b"%b%b%b\r\n" % (STATUS_LINE[status], self._date, b"".join(map(_line, fields))), body)
        if last or (isinstance(answer, Answer) and answer.close):
            self.transport.close()
        else:
            self._stay()

    def _send(self, head: bytes, body: bytes) -> None:
        if len(body) > _SMALL:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head + body)

    def _stay(self) -> None:
        """Keeps the connection alive for the next request, up to the keep-alive timeout."""
        self._answered_at = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """Closes the connection if it has been idle since the last response for the keep-alive timeout.

        One timer serves many responses: it is restarted if it fires too early.
        """
        self._timer = None
        if self._answered_at is None or not self._is_idle():
            return
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self.timeout_keep_alive_handler()


class _Waiting:
    """A waiting request as uvicorn sees it, and ASGI's ``receive`` for a request whose body has arrived."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = asyncio.Event()

    async def __call__(self) -> MutableMapping[str, Any]:
        await self.message_event.wait()
        return {"type": "http.disconnect"}


def _line(field: tuple[bytes, bytes]) -> bytes:
    return b"%b: %b\r\n" % field
