"""Requests that are handled immediately, and their equivalence to those that wait."""

from __future__ import annotations

import asyncio
import platform
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from conftest import ECHO, CompilePlugin
from gate import GATED, PATIENCE, Gate
from test_http_app import PROBE
from uvicorn.server import ServerState

from backworks.http import HttpApp, create_app
from backworks.http.protocol import http_protocol
from backworks.http.watch import Watch
from backworks.manager import PluginManager

pytestmark = pytest.mark.skipif(
    platform.python_implementation() != "CPython", reason="the parser that it needs is there for CPython alone"
)

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

#: A field that has a request wait for uvicorn, and changes nothing else.
SLOWLY = "Expect: 100-continue\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

#: More than the buffers of a connection take.
BIG = 1 << 24

#: A plugin whose answer is large.
LARGE = ECHO.replace(
    "  return backworks_answer(response, request->data, request->data_size);",
    f"""  static char text[{BIG}];
  (void)request;
  memset(text, 'x', sizeof text);
  return backworks_answer(response, text, sizeof text);""",
)


def configuration(compile_plugin: CompilePlugin) -> dict[str, Any]:
    """Creates a configuration with plugins that respond immediately, that wait, and that run in other processes."""
    probe = compile_plugin(PROBE, "probe", ['-DNAME="probe"'])
    plugins: dict[str, tuple[Path, str]] = {
        "probe": (probe, "none"),
        "process": (probe, "process"),
        "large": (compile_plugin(LARGE, "large", ['-DNAME="large"']), "none"),
        "echo": (compile_plugin(GATED, "gated"), "thread"),
    }
    return {
        "server": {"max_body": 1000},
        "plugins": {name: {"path": str(path), "isolation": where} for name, (path, where) in plugins.items()},
        "endpoints": {
            "/probe": {"methods": ["GET", "POST"], "data": "body", "runtime": {"handler": "probe"}},
            "/request/{name}": {"methods": ["GET", "POST"], "runtime": {"handler": "probe"}},
            "/process": {"methods": ["POST"], "data": "body", "runtime": {"handler": "process"}},
            "/large": {"methods": ["GET", "POST"], "runtime": {"handler": "large"}},
            "/gated": {"methods": ["GET", "POST"], "data": "body", "timeout": "60s", "runtime": {"handler": "echo"}},
        },
    }


class Served:
    """An application that is served in this event loop.

    Attributes:
        app: The application.
        tasks: How many tasks the event loop was given.
        connections: The connections, the first one first.
    """

    def __init__(self, app: HttpApp) -> None:
        self.app = app
        self.tasks = 0
        self.watch = Watch(lambda: app.config.server)
        self.connections: list[Any] = []
        self.port = 0

    @asynccontextmanager
    async def serve(self, **options: Any) -> AsyncIterator[Served]:
        """Serves the application with a fixed date."""
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            self.app, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False, **options
        )
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"Sat, 28 Nov 2026 00:00:00 GMT"), *config.encoded_headers]

        protocol = http_protocol(self.watch)

        def connect() -> asyncio.Protocol:
            self.connections.append(protocol(config=config, server_state=state, app_state={}))
            return self.connections[-1]  # type: ignore[no-any-return]

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **more: Any) -> Any:
            self.tasks += "_accept_connection" not in coroutine.__qualname__  # asyncio's own
            return asyncio.Task(coroutine, loop=loop, **more)

        self.app.loop = loop
        async with await loop.create_server(connect, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            loop.set_task_factory(factory)
            yield self
            loop.set_task_factory(None)

    def look(self, *times: float) -> None:
        """Looks at the connections at some times, in seconds."""
        for time in times:
            self.watch.look(self.connections, time)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Opens a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


class Client:
    """The client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self, method: str = "GET") -> bytes:
        """Reads one unchanged response."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if head == CONTINUE:
            return await self.answer(method)
        length = re.search(rb"content-length: (\d+)", head)
        return head + (await self.reader.readexactly(int(length[1])) if length and method != "HEAD" else b"")

    async def ask(self, path: str, method: str = "GET", headers: str = "", body: bytes = b"") -> bytes:
        """Sends one request and reads its response."""
        self.writer.write(request(path, method, headers, body))
        return await self.answer(method)


def request(path: str, method: str = "GET", headers: str = "", body: bytes = b"", version: str = "1.1") -> bytes:
    """Writes a request."""
    if body and "Transfer-Encoding" not in headers:
        headers += f"Content-Length: {len(body)}\r\n"
    return f"{method} {path} HTTP/{version}\r\nHost: test\r\n{headers}\r\n".encode() + body


def content(answer: bytes) -> bytes:
    """Returns the content of a response."""
    return answer.partition(b"\r\n\r\n")[2]


Run = Callable[..., None]


@pytest.fixture(scope="module", name="manager")
def _manager(compile_plugin: CompilePlugin) -> Iterator[PluginManager]:
    with PluginManager.from_config(configuration(compile_plugin)) as manager:
        yield manager


@pytest.fixture(name="run", params=LOOPS)
def _run(request: pytest.FixtureRequest, manager: PluginManager) -> Run:
    """Runs a test in an event loop, with the application served in it."""

    def run(test: Callable[[Served], Awaitable[None]], **options: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(PATIENCE), Served(create_app(manager)).serve(**options) as served:
                await test(served)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run


class TestSame:
    """Both paths produce the same responses."""

    @pytest.mark.parametrize(
        ("path", "method", "headers", "body"),
        [
            ("/probe", "GET", "", b""),
            ("/probe", "POST", "", b"created"),
            ("/probe", "POST", "", b"x" * 1000),
            ("/probe", "POST", "", b"x" * 1001),
            ("/probe", "POST", "", b"status 204"),
            ("/probe", "POST", "", b"status 205"),
            ("/probe", "POST", "", b"fail 3"),
            ("/probe", "POST", "", b"none"),
            ("/probe", "POST", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", b"what"),
            ("/probe", "HEAD", "", b""),
            ("/probe", "OPTIONS", "", b""),
            ("/probe", "PUT", "", b"x"),
            ("/large", "HEAD", "", b""),
            ("/request/a?x=%ff", "GET", "", b""),
            ("/request/%ff", "GET", "", b""),
            ("/nowhere", "GET", "", b""),
            ("/process", "POST", "", b"created"),
            ("/large", "GET", "", b""),
            ("/healthz", "GET", "", b""),
            ("/docs", "GET", "", b""),
        ],
    )
    def test_bytes(self, run: Run, path: str, method: str, headers: str, body: bytes) -> None:
        """An immediate response has exactly the bytes that uvicorn writes."""

        async def test(served: Served) -> None:
            async with served.client() as one, served.client() as other:
                at_once = await one.ask(path, method, headers, body)
                if path != "/process":  # its call may wait
                    assert served.tasks == 0
                slowly = await other.ask(path, method, headers + SLOWLY, body)

                assert served.tasks > 0
                assert at_once == slowly

        run(test)

    def test_request(self, run: Run) -> None:
        """The plugin receives the same request."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                path, headers = "/request/a%2Fb;c?x=1&x=%20&y", "X: 1\r\nx: 2\r\nContent-Type: text/plain\r\n"
                at_once = await client.ask(path, "POST", headers, b"text")
                assert served.tasks == 0
                slowly = await client.ask(path, "POST", headers + SLOWLY, b"text")

                assert content(at_once) == content(slowly).replace(b'"expect":"100-continue",', b"")

        run(test)

    @pytest.mark.parametrize(
        ("sent", "tasks"),
        [
            (request("/probe"), 0),
            (request("/probe", "POST", body=b"1"), 0),
            (request("/probe", "POST", "Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n1\r\ny\r\n0\r\nT: t\r\n\r\n"), 0),
            (request("/probe", headers="Connection: close\r\n"), 1),
            (request("/probe", version="1.0"), 1),
            (request("/probe", headers="Connection: keep-alive\r\n", version="1.0"), 1),
            (request("/probe", headers=SLOWLY), 1),
            (request("http://test/probe"), 1),
            (request("/probe", headers="Connection: Upgrade\r\nUpgrade: h2c\r\n"), 0),
        ],
        ids=["get", "body", "chunked", "close", "1.0", "1.0 keep-alive", "expect", "absolute", "upgrade"],
    )
    def test_way(self, run: Run, sent: bytes, tasks: int) -> None:
        """A task is only created for requests that uvicorn handles or that wait."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                client.writer.write(sent)

                assert (await client.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
                assert served.tasks == tasks

        run(test)

    @pytest.mark.parametrize(
        ("headers", "body"),
        [("Content-Length: 6\r\n", b"abcdef"), ("Transfer-Encoding: chunked\r\n", b"6\r\nabcdef\r\n0\r\n\r\n")],
        ids=["length", "chunked"],
    )
    def test_pieces(self, run: Run, headers: str, body: bytes) -> None:
        """A request in two pieces gets its response, wherever it is split."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                whole = request("/probe", "POST", headers) + body
                await client.ask("/probe")
                (connection,) = served.connections
                for at in range(1, len(whole)):
                    connection.data_received(whole[:at])
                    connection.data_received(whole[at:])

                    assert content(await client.answer()) == b"abcdef"
                assert bool(served.tasks) == ("chunked" in headers)

        run(test)

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ("Content-Length: 6\r\n", b"abcdef"),
            ("Transfer-Encoding: chunked\r\n", b"6\r\nabcdef\r\n0\r\nT: t\r\n\r\n"),
        ],
        ids=["length", "chunked"],
    )
    def test_pieces_with_an_offer(self, run: Run, headers: str, body: bytes) -> None:
        """An offer to upgrade changes nothing, wherever the request is split and whatever follows."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                offer = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                first = request("/probe", "POST", offer + headers) + body
                whole = first + request("/probe", "POST", offer, b"behind") + request("/nowhere", headers=offer)
                await client.ask("/probe")
                (connection,) = served.connections
                for at in range(1, len(whole)):
                    connection.data_received(whole[:at])
                    connection.data_received(whole[at:])

                    assert content(await client.answer()) == b"abcdef"
                    assert content(await client.answer()) == b"behind"
                    assert (await client.answer()).startswith(b"HTTP/1.1 404 ")

        run(test)

    def test_large_body(self, run: Run) -> None:
        """A body whose announced size is too large is rejected before it arrives."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                assert (await client.ask("/probe", "POST", "Content-Length: 1001\r\n")).startswith(b"HTTP/1.1 413 ")

        run(test)

    def test_invalid_body(self, run: Run) -> None:
        """Data that turns out not to be HTTP is 400, without a call."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                client.writer.write(request("/gated", "POST", "Transfer-Encoding: chunked\r\n", b"1\r\nx\r\nwrong"))

                assert (await client.answer()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
                assert await client.reader.read() == b""
                assert served.tasks == 0

        run(test)


class TestPipeline:
    """Several requests at a time on one connection."""

    def test_order(self, run: Run) -> None:
        """Responses keep the order of requests, whatever their number and path."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                for number in range(100):
                    path = "/process" if number % 7 == 3 else "/probe"
                    headers = SLOWLY if number % 11 == 5 else ""
                    client.writer.write(request(path, "POST", headers, b"number %d" % number))
                for number in range(100):
                    assert content(await client.answer()) == b"number %d" % number

        run(test)

    def test_bound(self, run: Run) -> None:
        """Of many requests in one piece, a few are handled immediately; then other clients get a turn."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                client.writer.write(request("/probe") * 100)
                for _ in range(100):
                    assert (await client.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
                assert served.tasks > 0

        run(test)

    def test_behind_one_that_waits(self, run: Run) -> None:
        """A request behind one that waits gets its response after it."""

        async def test(served: Served) -> None:
            with Gate() as gate:
                async with served.client() as client:
                    client.writer.write(request("/probe") + request("/gated", "POST", body=b"2") + request("/nowhere"))
                    first = await client.answer()
                    await asyncio.to_thread(gate.wait)
                    gate.open()

                    assert content(first) == b""
                    assert content(await client.answer()) == b"2"
                    assert (await client.answer()).startswith(b"HTTP/1.1 404 ")

        run(test)

    def test_behind_the_last(self, run: Run) -> None:
        """A request behind a response that closes the connection gets no response."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                client.writer.write(request("/probe", "POST", body=b"x" * 1001) + request("/nowhere"))
                answer = await client.answer()

                assert b"\r\nconnection: close\r\n" in answer
                assert await client.reader.read() == b""
            async with served.client() as other:
                assert b'status="404"' not in await other.ask("/metrics")

        run(test)

    def test_flood(self, run: Run) -> None:
        """The server stops reading from a client that only writes, long before its requests fill the memory."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                (connection,) = served.connections
                piece, sent = request("/probe") * 6000, 0
                client.writer.transport.pause_reading()
                while not connection.flow.write_paused:
                    connection.data_received(piece)
                    sent += 6000
                    assert len(connection.pipeline) < 600
                    assert len(connection._unparsed) <= len(piece)
                    while not connection.flow.write_paused and connection._unparsed:  # noqa: ASYNC110
                        await asyncio.sleep(0)

                assert connection.flow.read_paused
                client.writer.transport.resume_reading()
                for _ in range(sent):
                    assert (await client.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
                assert content(await client.ask("/probe", "POST", body=b"on")) == b"on"

        run(test)

    def test_many_behind_one_that_waits(self, run: Run) -> None:
        """The server parses only a few requests behind one that waits, and reads no more until it has its response."""

        async def test(served: Served) -> None:
            with Gate() as gate:
                async with served.client() as client:
                    await client.ask("/probe")
                    (connection,) = served.connections
                    connection.data_received(request("/gated", "POST", body=b"first"))
                    for _ in range(4):
                        connection.data_received(request("/probe", "POST", body=b"next") * 1000)

                        assert connection.flow.read_paused
                        assert len(connection.pipeline) < 600
                    await asyncio.to_thread(gate.wait)
                    gate.open()

                    assert content(await client.answer()) == b"first"
                    for _ in range(4000):
                        assert content(await client.answer()) == b"next"
                    assert content(await client.ask("/probe", "POST", body=b"on")) == b"on"

        run(test)

    def test_body_behind_many(self, run: Run) -> None:
        """A large body behind many requests arrives."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                body = b"x" * 1000
                many = request("/probe", headers=SLOWLY) * 40
                for _ in range(3):
                    client.writer.write(many + request("/probe", "POST", SLOWLY, body) + request("/nowhere"))
                    for _ in range(40):
                        await client.answer()
                    assert content(await client.answer()) == body
                    assert (await client.answer()).startswith(b"HTTP/1.1 404 ")

        run(test)

    def test_client_that_does_not_read(self, run: Run) -> None:
        """The server stops reading from a client that does not read, which gets all responses when it does."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                (connection,) = served.connections
                for _ in range(3):
                    connection.data_received(request("/large"))

                assert connection.flow.write_paused
                assert connection.flow.read_paused
                for _ in range(3):
                    assert len(content(await client.answer())) == BIG
                assert content(await client.ask("/probe", "POST", body=b"on")) == b"on"

        run(test)


class TestEnd:
    """Closing connections and shutting the server down."""

    def test_shutdown(self, run: Run) -> None:
        """At shutdown, a request that waits gets its response, which closes the connection."""

        async def test(served: Served) -> None:
            with Gate() as gate:
                async with served.client() as client:
                    client.writer.write(request("/gated", "POST", body=b"last"))
                    await asyncio.to_thread(gate.wait)
                    served.connections[0].shutdown()
                    gate.open()
                    answer = await client.answer()

                    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                    assert b"\r\nconnection: close\r\n" in answer
                    assert content(answer) == b"last"
                    assert await client.reader.read() == b""

        run(test)

    def test_shutdown_while_idle(self, run: Run) -> None:
        """At shutdown, an idle connection is closed."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                served.connections[0].shutdown()

                assert await client.reader.read() == b""

        run(test)

    def test_given_up(self, run: Run) -> None:
        """A request that has just begun to wait when the shutdown timeout expires is 503."""

        async def test(served: Served) -> None:
            with Gate():
                async with served.client() as client:
                    await client.ask("/probe")
                    loop = asyncio.get_running_loop()
                    loop.call_soon(served.connections[0].data_received, request("/gated"))
                    loop.call_soon(served.app.give_up)

                    assert (await client.answer()).startswith(b"HTTP/1.1 503 ")

        run(test)

    def test_cancelled(self, run: Run) -> None:
        """A cancelled request, as by uvicorn at the end, closes its connection."""

        async def test(served: Served) -> None:
            with Gate() as gate:
                async with served.client() as client:
                    client.writer.write(request("/gated"))
                    await asyncio.to_thread(gate.wait)
                    # A call of an earlier test may have been the one inside.
                    while not (served.connections and served.connections[0].tasks):  # noqa: ASYNC110
                        await asyncio.sleep(0)
                    for task in served.connections[0].tasks:
                        task.cancel()

                    assert await client.reader.read() == b""

        run(test)

    def test_given_up_without_body(self, run: Run) -> None:
        """A request whose body has not arrived when the shutdown timeout expires is 503."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                (connection,) = served.connections
                connection.data_received(request("/probe", "POST", "Content-Length: 2\r\n") + b"a")
                connection.shutdown()
                await asyncio.sleep(0)  # its task begins
                served.app.give_up()

                assert (await client.answer()).startswith(b"HTTP/1.1 503 ")
                assert await client.reader.read() == b""

        run(test)

    def test_body_after_shutdown(self, run: Run) -> None:
        """A request whose body arrives during shutdown gets its response."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                (connection,) = served.connections
                connection.data_received(request("/probe", "POST", "Content-Length: 2\r\n") + b"a")
                connection.shutdown()
                client.writer.write(b"b")

                assert content(await client.answer()) == b"ab"
                assert await client.reader.read() == b""

        run(test)

    @pytest.mark.parametrize("body", [b"", b"a"])
    def test_hang_up_without_body(self, run: Run, body: bytes) -> None:
        """A client that disconnects before its body has arrived is counted."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                client.writer.write(request("/probe", "POST", "Content-Length: 2\r\n") + body)
                await client.writer.drain()
            async with served.client() as other:
                while b'method="POST",route="/probe",status="499"' not in await other.ask("/metrics"):
                    pass

        run(test)

    def test_hang_up(self, run: Run) -> None:
        """A client that disconnects during its call is counted, and the connection is released."""

        async def test(served: Served) -> None:
            with Gate() as gate:
                async with served.client() as client:
                    client.writer.write(request("/gated"))
                    await asyncio.to_thread(gate.wait)
                async with served.client() as other:
                    while b'route="/gated",status="499"' not in await other.ask("/metrics"):
                        pass

        run(test)

    def test_idle(self, run: Run) -> None:
        """An idle connection is closed after the keep-alive timeout, which each request starts again."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                served.look(0, 74)
                await client.ask("/probe")
                served.look(75, 149)
                await client.ask("/probe")
                served.look(150, 225)

                assert await client.reader.read() == b""

        run(test)

    def test_slow_body(self, run: Run) -> None:
        """Each 64 KiB of a body have the same time; a body that trickles in is 408."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                (connection,) = served.connections
                connection.data_received(request("/nowhere", "POST", "Content-Length: 1000000\r\n"))
                await client.answer()
                for time in range(0, 300, 20):
                    connection.data_received(b"x" * 65536)
                    served.look(time)
                assert not connection.transport.is_closing()
            async with served.client() as other:
                await other.ask("/probe")
                connection = served.connections[-1]
                connection.data_received(request("/probe", "POST", "Content-Length: 100\r\n"))
                for time in range(0, 31, 5):
                    connection.data_received(b"x")
                    served.look(time)

                assert (await other.answer()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
                assert await other.reader.read() == b""

        run(test)

    def test_client_that_never_reads(self, run: Run) -> None:
        """A connection whose client reads nothing of a response is closed."""

        async def test(served: Served) -> None:
            async with served.client() as client:
                await client.ask("/probe")
                client.writer.transport.pause_reading()
                (connection,) = served.connections
                connection.data_received(request("/large"))
                for time in count(0, 10):
                    served.look(time)
                    if connection.transport.is_closing():
                        break
                    await asyncio.sleep(0)
                client.writer.transport.resume_reading()

                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await client.answer()

        run(test)

    def test_not_idle(self, run: Run) -> None:
        """A connection with a waiting request is not closed."""

        async def test(served: Served) -> None:
            with Gate() as gate:
                async with served.client() as client:
                    client.writer.write(request("/probe") + request("/gated", "POST", body=b"on"))
                    await client.answer()
                    await asyncio.to_thread(gate.wait)
                    served.look(0, 1000, 2000)
                    gate.open()

                    assert content(await client.answer()) == b"on"
                    assert content(await client.ask("/probe", "POST", body=b"more")) == b"more"

        run(test)
