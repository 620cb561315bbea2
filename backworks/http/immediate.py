"""uvicorn's HTTP/1.1 connection for :class:`backworks.http.app.HttpApp`, which answers at once what need not wait.

How a request travels: (1) the parser has its head, and it is left to uvicorn if the connection is busy, will not be
kept alive, or the client wants something first. (2) The parser has its end; a body that is large, or of unknown size,
and not there yet is left to uvicorn as well. (3) The application's coroutine takes its first step here, without a task.
(4) If that was its last, head and content leave in one write. (5) If it waits, a task goes on with it, and it stands
where uvicorn has the request that it answers: pipelined requests wait for it, and uvicorn tells it when the client
hangs up or the server ends.

uvicorn's parser gathers a request line, header fields, the extension of a chunk and the trailer for as long as they
come: 66 MiB of header fields took 480 MiB of memory. Here that has a bound.

Methods that every request calls name uvicorn's class instead of using ``super()``, which takes longer.
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

#: How many bytes may come without completing a head or adding to a body, before the next piece ends the connection:
#: the bound of h11, uvicorn's other parser.
MAX_GATHERED = 1 << 16

#: How many requests of one piece of data are answered at once. The rest waits in uvicorn's pipeline, so that a client
#: who sends thousands does not hold up all others.
_AT_ONCE = 16
#: Up to this size a body is gathered here, and the head and the content of an answer are copied together.
_SMALL = 1 << 16

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Way(Enum):
    """What becomes of the request that is being parsed: there is none, its head is not complete, or who answers it."""

    NONE = auto()
    HEAD = auto()
    HERE = auto()
    UVICORN = auto()


#: Found once: to CPython 3.11 the member of an enumeration is more than an attribute.
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

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._way = _HEAD
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._gathered = 0
        # What a trailer adds does not pass for one of them.
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
        """Waits for the rest of a body, or has uvicorn wait."""
        if self.transport.is_closing():  # it is not HTTP
            self._way = _NONE
            return
        most = min(_SMALL, self._app.config.server.max_body)
        length = next((value for name, value in self._fields if name == b"content-length"), None)
        if length is None or int(length) > most:
            self._leave()

    def _leave(self) -> None:
        """Leaves the request to uvicorn, with as much of its body as has come."""
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
        """Takes the first step of a request."""
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
        """Goes on with a request that waits."""
        try:
            answer = await request
        except BaseException:  # the server ends, and has waited long enough
            self.transport.close()
            raise
        finally:
            waiting.response_complete = True
        if answer is not None and not self.transport.is_closing():
            self._write(answer, head=head, last=not waiting.keep_alive)
        if self.pipeline:
            self.on_response_complete()

    def _write(self, answer: Answer | bytes, *, head: bool, last: bool = False) -> None:
        """Writes an answer as uvicorn would write it."""
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            self._date = b"".join(map(_line, self._default_headers))
            self._plain = b"%b%bcontent-type: %b\r\ncontent-length: " % (STATUS_LINE[200], self._date, JSON)
        if answer.__class__ is bytes and answer and not (head or last):  # most of the time; as parts() does it
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
        """Keeps the connection for the next request, for some time."""
        self._answered_at = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """Hangs up if nothing has come since the last answer for as long as that may be.

        One timer for many answers: it is set again where it has come too early.
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
    """A request that waits, for uvicorn; and ASGI's ``receive`` for one whose body has come."""

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
