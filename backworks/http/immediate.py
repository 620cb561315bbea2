"""A subclass of uvicorn's HTTP/1.1 connection that responds immediately to requests that need not wait.

The path of a request to :class:`backworks.http.app.HttpApp`: (1) The parser has read the head. If the connection is
busy, will not be kept alive, or the client expects a response before it sends the body, uvicorn handles the request.
(2) The parser has read the whole request. If the body is large or of unknown size and has not arrived yet, uvicorn
handles the request as well. (3) The application's coroutine runs its first step here, without a task. (4) If that
completes it, head and content leave in one write. (5) If it waits, a task continues it, and the request takes the place
of uvicorn's current request: pipelined requests wait for it, and uvicorn notifies it when the client disconnects or the
server shuts down.

uvicorn's parser buffers a request line, header fields, the extension of a chunk and the trailer without a limit: 66 MiB
of header fields took 480 MiB of memory. It also parses pipelined requests without a limit. This class limits both.

httptools takes whatever follows a head with an offer to upgrade for another protocol, and drops the body. This class
ignores such offers: it lets the parser read the head again without the offer.

Methods that run for every request call uvicorn's class by name, because ``super()`` takes longer.
"""

from __future__ import annotations

import asyncio
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from backworks.http.asgi import JSON, Answer, parts
from backworks.http.connection import INVALID, Connection, line
from backworks.http.problems import problem
from backworks.http.watch import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, MutableMapping

__all__ = ["MAX_GATHERED", "ImmediateProtocol"]

#: How many bytes may arrive without completing a head or adding to a body; more data then closes the connection. This
#: is the limit of h11, uvicorn's other parser.
MAX_GATHERED = 1 << 16

#: How many requests from one piece of data to handle immediately. The rest waits in uvicorn's pipeline, so that a
#: client that sends thousands does not delay the others.
_AT_ONCE = 16
#: The largest request body to buffer here, and the largest response content to copy into one buffer with the head.
_SMALL = 1 << 16

#: How many pipelined requests may wait for their responses before the server stops reading.
_PIPELINED = 16
#: How many bytes to parse before looking at that number: a request has at least 18.
_PIECE = 1 << 14

#: RFC 9110, section 7.2: a host, which may be empty, and a port.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-fvV:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


_HOSTS = problem(400, "the request must have one Host field with a host and perhaps a port")


class _Way(Enum):
    """The state of the request being parsed: none, head incomplete, handled here, or handled by uvicorn."""

    NONE = auto()
    HEAD = auto()
    HERE = auto()
    UVICORN = auto()


#: Looked up once, because access to an enumeration's members is slow in CPython 3.11.
_NONE, _HEAD, _HERE, _UVICORN = _Way


class ImmediateProtocol(Connection, HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._way = _NONE
        self._gathered = 0
        self._received = 0
        self._at_once = self._left = _AT_ONCE
        self._begun = 0
        self._hosts = 0
        self._known_host = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._unparsed = b""
        self._refusal: Answer | None = None
        self._waiting = _Waiting()
        self._active: Any = None  # the request whose response is next; uvicorn's cycle is the last that has arrived
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._date = self._plain = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._way is _HERE:
            self._leave()
        super().connection_lost(error)
        self.hang_up()

    def shutdown(self) -> None:
        if self._way is _HERE:
            self._leave()
        super().shutdown()

    def restrict(self) -> None:
        super().restrict()
        self._at_once = 0  # only uvicorn's path has that restriction

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            self.discard(data)
            return
        self._left = self._at_once
        if self._unparsed or self.pipeline or self.flow.write_paused or len(data) > _PIECE:
            self._parse(self._unparsed + data)
        else:
            self._feed(data)
        if self._way is _HERE:
            self._wait_for_body()

    def pause_writing(self) -> None:
        HttpToolsProtocol.pause_writing(self)
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        HttpToolsProtocol.resume_writing(self)
        self.loop.call_soon(self._go_on)

    def reads(self) -> tuple[Stage, object]:
        if self._way is _HERE or self._way is _UVICORN:
            return Stage.BODY, (self._begun, self._received >> 16)
        if not self.is_idle():
            return Stage.CALL, 0
        return Stage.IDLE if self._begun and self._way is _NONE else Stage.HEAD, self._begun

    def is_partial(self) -> bool:
        return self._way is not _NONE

    def is_answered(self) -> bool:
        return self._way is _UVICORN and self.is_idle()

    def hang_up(self) -> None:
        super().hang_up()
        if self._active is not None:
            self._active.disconnected = True
            self._active.message_event.set()

    # What arrives.

    def _parse(self, data: bytes) -> None:
        """Parses data piece by piece, and keeps the rest while too many requests wait or the client does not read."""
        rest = memoryview(data)
        while rest and not self.deaf:
            if len(self.pipeline) >= _PIPELINED or self.flow.write_paused:
                self._unparsed = bytes(rest)
                self.flow.pause_reading()
                return
            self._feed(rest[:_PIECE])
            rest = rest[_PIECE:]
        self._unparsed = b""

    def _feed(self, data: bytes | memoryview) -> None:
        if self._gathered > MAX_GATHERED:
            self._refuse(problem(431, f"the request head must not exceed {MAX_GATHERED} bytes"))
            return
        self._gathered += len(data)
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                except HttpParserUpgrade as offer:
                    data = memoryview(data)[offer.args[0] :]
                    self._ignore_offer()
                else:
                    return
        except HttpParserError:
            if not self.transport.is_closing():
                self.send_400_response("")

    def _ignore_offer(self) -> None:
        """Parses the last head again, without the offer to upgrade."""
        parser = self.parser
        method = parser.get_method()
        if method == b"CONNECT":
            self._refuse(problem(501, "the server is not a proxy and does not implement CONNECT"))
        if self.deaf or self.transport.is_closing():
            return
        fields = b"".join(line(field) for field in self._fields if field[0] != b"upgrade")
        version = parser.get_http_version().encode()
        parser.feed_data(b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, fields))

    def _go_on(self) -> None:
        """Parses what was kept, and reads again."""
        if self.deaf or self.transport.is_closing() or self.flow.write_paused:
            return
        self._left = self._at_once
        self._parse(self._unparsed)
        if self._way is _HERE:
            self._wait_for_body()
        if not (self._unparsed or self.pipeline or self.deaf):
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        self._refuse(INVALID)

    def _refuse(self, answer: Answer) -> None:
        """Refuses the request being parsed, after the responses to those before it."""
        if self._way is _UVICORN:
            if self.pipeline:
                self.pipeline.popleft()  # it is the last one
            else:
                self.refuse(answer)
                return
        elif self.is_idle():
            self.refuse(answer)
            return
        self._way = _NONE
        self.deaf = True
        self._refusal = answer

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._way = _HEAD
        self._begun += 1
        self._hosts = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"host":
            self._hosts += 1
            if value != self._known_host:
                self._note_host(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._gathered = 0
        # Fields of a trailer must not be mistaken for header fields.
        self._fields, self.headers = self.headers, []
        self._body = []
        if self.deaf or self.transport.is_closing():
            self._way = _NONE
        elif self._hosts != 1 and (self._hosts or self.parser.get_http_version() != "1.0"):
            self._refuse(_HOSTS)
        elif self._left and self._is_simple():
            self._left -= 1
            self._way = _HERE
        elif self.parser.should_upgrade():
            self._way = _NONE
        else:
            self._leave()

    def on_body(self, body: bytes) -> None:
        self._gathered = 0
        self._received += len(body)
        if self._way is _HERE:
            self._body.append(body)
        elif self._way is _UVICORN:
            HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        way, self._way = self._way, _NONE
        if way is _HERE:
            self._begin()
        elif way is _UVICORN:
            HttpToolsProtocol.on_message_complete(self)

    def _note_host(self, host: bytes) -> None:
        if _HOST.fullmatch(host):
            self._known_host = host
        else:
            self._hosts += 1

    def on_response_complete(self) -> None:
        """Begins the next pipelined request, or reads on."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start(*self.pipeline.pop())
        elif self._refusal is not None:
            self.refuse(self._refusal)
        if not self.pipeline:
            self._go_on()

    def _start(self, cycle: Any, app: Any) -> None:
        self._active = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _is_simple(self) -> bool:
        parser, url = self.parser, self.url
        return (
            self.is_idle()
            and not self.flow.write_paused
            and not self.expect_100_continue
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and url.startswith(b"/")
            and b"#" not in url
            and url.isascii()
        )

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
        if not self.pipeline:
            self._active = self.cycle
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
        self.cycle = self._active = waiting = self._waiting
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
        self.on_response_complete()

    def _write(self, answer: Answer | bytes, *, head: bool, last: bool = False) -> None:
        """Writes a response exactly as uvicorn does."""
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            self._date = b"".join(map(line, self._default_headers))
            self._plain = b"%b%bcontent-type: %b\r\ncontent-length: " % (STATUS_LINE[200], self._date, JSON)
        if answer.__class__ is bytes and answer and not (head or last):  # the usual case, with the result of parts()
            self._send(b"%b%d\r\n\r\n" % (self._plain, len(answer)), answer)
            return
        status, fields, body = parts(answer, head=head, close=last)
        self._send(b"%b%b%b\r\n" % (STATUS_LINE[status], self._date, b"".join(map(line, fields))), body)
        if last or (isinstance(answer, Answer) and answer.close):
            self.transport.close()

    def _send(self, head: bytes, body: bytes) -> None:
        if len(body) > _SMALL:
            self._socket.writelines((head, body))
        else:
            self._socket.write(head + body)


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
