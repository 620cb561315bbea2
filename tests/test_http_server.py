"""The server in a separate process, with real connections and real signals."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from conftest import ECHO, CompilePlugin
from gate import GATED, PATIENCE
from uvicorn.server import ServerState

from backworks.errors import ConfigError, ListenError, PluginLoadError, WorkerError
from backworks.http.protocol import http_protocol
from backworks.http.server import _listen, serve
from backworks.manager import PluginManager

#: What a child process runs: a server that prints what its plugins log, and holds a call inside until a line comes in.
CHILD = """
import logging, sys, threading
if sys.argv[1] == "plain":
    sys.modules["httptools"] = sys.modules["uvloop"] = None
released = threading.Event()
threading.Thread(target=lambda: sys.stdin.readline() and released.set(), daemon=True).start()

class Print(logging.Handler):
    def handle(self, record):
        print(record.name.rpartition(".")[2], record.getMessage(), flush=True)
        if record.getMessage() == "inside":
            released.wait()
        return True

plugins = logging.getLogger("backworks.plugin")
plugins.setLevel(logging.INFO)
plugins.addHandler(Print())
from backworks.http.server import serve
serve(sys.argv[2], announce=lambda text: print(text, flush=True))
print("served", flush=True)
"""

LEAVING = '  backworks_log(plugin->host, BACKWORKS_INFO, "shut down");\n  free(plugin);'


#: A plugin that answers with the number of its process.
PID = ECHO.replace(
    "#include <backworks_plugin.h>",
    """#include <backworks_plugin.h>
#if defined(_WIN32)
#include <process.h>
#define getpid _getpid
#else
#include <unistd.h>
#endif""",
).replace(
    "  return backworks_answer(response, request->data, request->data_size);",
    """  char text[32];
  (void)request;
  return backworks_answer(response, text, (size_t)snprintf(text, sizeof text, "%d", (int)getpid()));""",
)


def leaving(source: str) -> str:
    """Makes a plugin log its shutdown."""
    return source.replace("  free(plugin);", LEAVING)


#: A head, after which chunks follow.
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

#: More time to end than any test waits: what ends nevertheless did not wait for it.
LONG = "1h"

#: Presses Ctrl-C at the console of a process of Windows: only who is at that console can, and it reaches all who are.
CTRL_C = """
import ctypes, sys
console = ctypes.WinDLL("kernel32", use_last_error=True)
console.FreeConsole()
if not (
    console.AttachConsole(int(sys.argv[1]))
    and console.SetConsoleCtrlHandler(None, True)
    and console.GenerateConsoleCtrlEvent(0, 0)
):
    raise ctypes.WinError(ctypes.get_last_error())
"""


class Server:
    """A server in a separate process, with its output."""

    def __init__(self, parsers: str, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-c", CHILD, parsers, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows: a console of its own, for Ctrl-C
        )
        self.announcement = self.line()
        self.port = int(self.announcement.partition("127.0.0.1:")[2].split()[0])

    def line(self) -> str:
        """Reads one line of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def release(self) -> None:
        """Releases the held calls."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """Presses Ctrl-C."""
        if sys.platform == "win32":
            subprocess.run([sys.executable, "-c", CTRL_C, str(self.process.pid)], check=True)
        else:
            self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, list[str], str]:
        """Waits for its end and returns its exit code, the rest of its output, and its errors."""
        out, err = self.process.communicate(timeout=PATIENCE)
        # What asyncio finds slow in its development mode tells of the machine.
        said = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("Executing <"))
        return self.process.returncode, out.splitlines(), said

    def connect(self) -> socket.socket:
        """Opens a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, path: str) -> bytes:
        """Sends a request over a new connection."""
        with self.connect() as connection:
            send(connection, path)
            return answer_of(connection)[1]


def send(connection: socket.socket, path: str, method: str = "GET", headers: str = "", body: bytes = b"") -> None:
    """Sends a request."""
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode() + body)


def answer_of(connection: socket.socket, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    """Reads a response, and checks that nothing follows it."""
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    return answer, answer.read()


def closed(connection: socket.socket) -> bool:
    """Waits until the other side closes a connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def pour(connection: socket.socket, piece: bytes) -> int:
    """Sends data repeatedly until the other side stops reading, and returns the number of bytes."""
    sent = 0
    try:
        while sent < 1 << 26:
            connection.sendall(piece)
            sent += len(piece)
    except ConnectionError:
        pass
    return sent


Start = Callable[..., Server]


@pytest.fixture(scope="module", name="libraries")
def _libraries(compile_plugin: CompilePlugin) -> dict[str, str]:
    return {
        "echo": str(compile_plugin(leaving(ECHO), "echo")),
        "gated": str(compile_plugin(leaving(GATED), "gated", ['-DNAME="gated"'])),
    }


def config_of(libraries: dict[str, str], **server: Any) -> dict[str, Any]:
    """Creates a configuration with one endpoint for each of two plugins."""
    return {
        "server": {"port": 0, "max_body": 1000, **server},
        "plugins": {name: {"path": path, "timeout": None, "isolation": "thread"} for name, path in libraries.items()},
        "endpoints": {
            "/echo": {"methods": ["GET", "POST"], "runtime": {"handler": "echo"}},
            "/gated": {"runtime": {"handler": "gated"}},
        },
    }


@pytest.fixture(name="start", params=["fast", "plain"])
def _start(request: pytest.FixtureRequest, libraries: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts servers with uvicorn's preferred event loop and parser, and with its fallbacks."""
    servers: list[Server] = []

    def start(**settings: Any) -> Server:
        path = tmp_path / "backworks.yaml"
        path.write_text(json.dumps(config_of(libraries, **settings)), encoding="utf-8")
        servers.append(Server(request.param, path))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


class TestEnd:
    """Shutdown of the server and of all plugins."""

    def test_idle(self, start: Start) -> None:
        """Ctrl-C ends the server, even with open connections, and shuts the plugins down in reverse order."""
        server = start(shutdown_timeout=LONG)
        with server.connect() as connection:
            send(connection, "/echo")
            answer_of(connection)
            server.interrupt()
            code, out, err = server.end()

            assert closed(connection)
        assert (code, out, err) == (0, ["gated shut down", "echo shut down", "served"], "")

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a program could catch")
    def test_terminated(self, start: Start) -> None:
        """SIGTERM does the same."""
        server = start(shutdown_timeout=LONG)
        server.process.terminate()

        assert server.end() == (0, ["gated shut down", "echo shut down", "served"], "")

    def test_request_that_ends(self, start: Start) -> None:
        """A request in flight gets its response."""
        server = start(shutdown_timeout=LONG)
        with server.connect() as idle, server.connect() as connection:
            send(idle, "/echo")
            answer_of(idle)
            send(connection, "/gated")
            assert server.line() == "gated inside"
            server.interrupt()
            assert closed(idle)
            server.release()
            answer, _ = answer_of(connection)
            code, out, err = server.end()

            assert answer.status == 200
        assert (code, out, err) == (0, ["gated shut down", "echo shut down", "served"], "")

    def test_request_that_does_not_end(self, start: Start) -> None:
        """A request whose call does not return is 503, and the other plugins are shut down."""
        server = start()
        with server.connect() as connection:
            send(connection, "/gated")
            assert server.line() == "gated inside"
            server.interrupt()
            answer, body = answer_of(connection)
            code, out, err = server.end()

            assert (answer.status, json.loads(body)["plugin"]) == (503, "gated")
        assert (code, out[1:], err) == (0, ["echo shut down", "served"], "")
        assert out[0].startswith("gated abandoned")

    def test_body_that_does_not_come(self, start: Start) -> None:
        """A client that only sends half of its body gets 503, without an error."""
        server = start()
        with server.connect() as idle, server.connect() as connection:
            send(connection, "/echo", "POST", "Expect: 100-continue\r\nContent-Length: 10\r\n", b"half")
            assert connection.recv(12) == b"HTTP/1.1 100"
            server.interrupt()
            assert closed(idle)
            _, _, rest = connection.recv(1 << 16).partition(b"\r\n\r\n")
            code, out, err = server.end()

            assert b" 503 " in rest or b" 503 " in connection.recv(1 << 16)
        assert (code, out, err) == (0, ["gated shut down", "echo shut down", "served"], "")

    def test_twice(self, start: Start) -> None:
        """A second Ctrl-C ends the server immediately."""
        server = start(shutdown_timeout=LONG)
        with server.connect() as idle, server.connect() as connection:
            send(idle, "/echo")
            answer_of(idle)
            send(connection, "/gated")
            assert server.line() == "gated inside"
            server.interrupt()
            assert closed(idle)
            server.interrupt()
            code, out, _ = server.end()

        assert code != 0
        assert out == []


class TestConnections:
    """The server and the behaviour of clients."""

    def test_keep_alive(self, start: Start) -> None:
        """One connection handles many requests, including HEAD and errors."""
        server = start()
        with server.connect() as connection:
            for method, path, status in (
                ("GET", "/echo", 200),
                ("HEAD", "/echo", 200),
                ("OPTIONS", "/echo", 204),
                ("GET", "/nowhere", 404),
                ("PUT", "/echo", 405),
                ("GET", "/echo?a=%ff", 400),
                ("GET", "/echo", 200),
            ):
                send(connection, path, method)
                answer, body = answer_of(connection, method)

                assert answer.status == status
                assert bool(body) == (method not in ("HEAD", "OPTIONS"))
        assert server.announcement.startswith("Serving 2 endpoints on http://127.0.0.1:")

    def test_body_announced_too_large(self, start: Start) -> None:
        """A body whose announced size is too large is rejected without 100 Continue."""
        server = start()
        with server.connect() as connection:
            send(connection, "/echo", "POST", "Expect: 100-continue\r\nContent-Length: 1001\r\n")
            answer, _ = answer_of(connection, "POST")

            assert (answer.status, answer.getheader("connection")) == (413, "close")
            assert closed(connection)

    def test_endless_body(self, start: Start) -> None:
        """The server reads an endless body little beyond the limit, responds, and closes the connection."""
        server = start()
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with server.connect() as connection:
            send(connection, "/echo", "POST", "Transfer-Encoding: chunked\r\n")

            assert pour(connection, chunk) < 1 << 26
        assert b'status="413"' in server.ask("/metrics")

    @pytest.mark.parametrize(
        ("begin", "more"),
        [
            (b"GET /", b"a" * 65536),
            (b"GET /echo HTTP/1.1\r\nX: ", b"a" * 65536),
            (b"GET /echo HTTP/1.1\r\n", b"X: a\r\n" * 10_000),
            (
                b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
                b"X: a\r\n" * 10_000,
            ),
            (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 65536),
        ],
        ids=["path", "field", "fields", "trailer", "extension"],
    )
    def test_endless_head(self, start: Start, begin: bytes, more: bytes) -> None:
        """An endless head or trailer closes the connection before it fills the memory."""
        server = start()
        with server.connect() as connection:
            connection.sendall(begin)

            assert pour(connection, more) < 1 << 26
        assert b'"ok"' in server.ask("/healthz")

    def test_trailer(self, start: Start) -> None:
        """A field in the trailer is not a header field."""
        server = start()
        with server.connect() as connection:
            send(connection, "/echo", "POST", "Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\nSneaked: in\r\n\r\n")
            answer, body = answer_of(connection, "POST")

            assert answer.status == 200
            assert "sneaked" not in json.loads(body)["headers"]

    def test_hang_up(self, start: Start) -> None:
        """The server notices a disconnect during a call; the call completes, without an error."""
        server = start(shutdown_timeout=LONG)
        with server.connect() as connection:
            send(connection, "/gated")
            assert server.line() == "gated inside"
        until = time.monotonic() + PATIENCE
        while b'route="/gated",status="499"' not in server.ask("/metrics"):
            assert time.monotonic() < until

        server.release()
        server.interrupt()
        assert server.end() == (0, ["gated shut down", "echo shut down", "served"], "")


class TestWorkers:
    """Several server processes on one address."""

    @pytest.fixture(name="server")
    def _server(self, compile_plugin: CompilePlugin, tmp_path: Path) -> Iterator[Server]:
        path = tmp_path / "backworks.yaml"
        config = {
            "server": {"port": 0, "workers": 2, "shutdown_timeout": LONG},
            "plugins": {"pid": {"path": str(compile_plugin(PID, "pid")), "isolation": "none"}},
            "endpoints": {"/pid": {"runtime": {"handler": "pid"}}},
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        server = Server("fast", path)
        yield server
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()

    def two(self, server: Server, *without: int) -> set[int]:
        """Sends requests until two processes have responded."""
        found: set[int] = set()
        until = time.monotonic() + PATIENCE
        while len(found) < 2:
            assert time.monotonic() < until
            try:
                found.add(int(server.ask("/pid")))
            except (ConnectionError, http.client.HTTPException):  # it was that one's
                continue
            found -= {*without}
        return found

    def test_end(self, server: Server) -> None:
        """Two processes respond, neither of them the main process, and Ctrl-C ends all."""
        found = self.two(server)
        server.interrupt()
        code, out, err = server.end()

        assert server.announcement.startswith("Serving 1 endpoint on http://127.0.0.1:")
        assert " in 2 processes " in server.announcement
        assert server.process.pid not in found
        assert (code, out, err) == (0, ["served"], "")

    def test_metrics(self, server: Server) -> None:
        """Each process reports the counters of all, including those of one that has died."""
        both = self.two(server)
        for _ in range(50):
            server.ask("/pid")
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)  # keeps to one of them
        until = time.monotonic() + PATIENCE
        while self.calls(client) < 52:
            assert time.monotonic() < until
        (dead,) = both - {int(self.read(client, "/pid"))}
        os.kill(dead, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        self.two(server, dead)

        assert self.calls(client) >= 52
        client.close()

    def read(self, client: http.client.HTTPConnection, path: str) -> str:
        client.request("GET", path)
        return client.getresponse().read().decode()

    def calls(self, client: http.client.HTTPConnection) -> int:
        """Returns the number of calls."""
        found = re.search(r'backworks_calls_total{code="OK",plugin="pid"} (\d+)', self.read(client, "/metrics"))
        return int(found[1]) if found else 0

    def test_crash(self, server: Server) -> None:
        """A process that dies is logged and replaced, while the other continues to respond."""
        dead = self.two(server).pop()
        os.kill(dead, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        self.two(server, dead)
        server.interrupt()
        code, out, err = server.end()

        assert (code, out) == (0, ["served"])
        assert err.startswith(f"server process {dead} ")
        assert err.endswith("; starting a replacement\n")

    def test_many_connections(self, server: Server) -> None:
        """More open connections than select() supports on Windows do not stop the server."""
        self.two(server)
        many = 1200 if sys.platform == "win32" else 200  # elsewhere the shell may have a limit of 256 files
        with ExitStack() as stack:
            for _ in range(many):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
        self.two(server)
        server.interrupt()
        code, out, err = server.end()

        assert (code, out, err) == (0, ["served"], "")

    def test_first_process_dies(self, server: Server) -> None:
        """The server processes do not outlive the main process."""
        self.two(server)
        server.process.kill()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                server.ask("/pid")
            except ConnectionRefusedError:
                break
            except (ConnectionError, http.client.HTTPException):
                continue
        else:
            pytest.fail("they still answer")

    def test_start(self, libraries: dict[str, str]) -> None:
        """A critical plugin that does not start raises the same exception as in one process."""
        config = config_of(libraries | {"absent": "absent.so"}, workers=2)

        with pytest.raises(PluginLoadError, match="absent.so") as caught:
            serve(config, announce=pytest.fail)
        assert caught.value.plugin is None
        assert caught.value.path.endswith("absent.so")

    def test_crash_at_start(self, libraries: dict[str, str], compile_plugin: CompilePlugin) -> None:
        """Startup fails if a process dies before it serves, instead of retrying forever."""
        library = str(compile_plugin(ECHO.replace("  plugin->host", "  _Exit(3);\n  plugin->host"), "crash"))

        with pytest.raises(WorkerError, match=r"server process \d+ exited with code 3 before it accepted requests"):
            serve(config_of(libraries | {"crash": library}, workers=2), announce=pytest.fail)


class TestStart:
    """A failed startup gives the reason and leaves nothing running."""

    def refuse(self, *arguments: Any, **options: Any) -> None:
        pytest.fail("it listens")

    def test_port_in_use(self, libraries: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The error of a port in use names it, before any plugin starts."""
        monkeypatch.setattr(PluginManager, "from_config", self.refuse)
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]

            with pytest.raises(
                ListenError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .+; stop the other server"
            ) as caught:
                serve(config_of(libraries), port=port, announce=self.refuse)
        assert "nknown error" not in str(caught.value)

    def test_no_such_host(self, libraries: dict[str, str]) -> None:
        """The error of an unknown host names it."""
        with pytest.raises(ListenError, match=r"cannot listen on nowhere\.invalid:0: "):
            serve(config_of(libraries), host="nowhere.invalid", announce=self.refuse)

    def test_foreign_address(self, libraries: dict[str, str]) -> None:
        """The error of another machine's address names it."""
        with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0: "):
            serve(config_of(libraries), host="192.0.2.1", announce=self.refuse)

    def test_critical_plugin(self, libraries: dict[str, str]) -> None:
        """A critical plugin that does not start raises its exception, and signal handlers are restored."""
        before = signal.getsignal(signal.SIGINT)

        with pytest.raises(PluginLoadError):
            serve(config_of(libraries | {"absent": "absent.so"}), announce=self.refuse)
        assert signal.getsignal(signal.SIGINT) is before

    def test_small_packets(self) -> None:
        """Packets of a connection are sent without waiting for an acknowledgement."""
        (listener,) = _listen("127.0.0.1", 0)
        connected, lost = asyncio.Event(), asyncio.Event()

        class Protocol(http_protocol()):  # type: ignore[misc]
            def connection_made(self, transport: asyncio.Transport) -> None:
                super().connection_made(transport)
                connected.set()

            def connection_lost(self, error: Exception | None) -> None:
                super().connection_lost(error)
                lost.set()

        async def main() -> int:
            async def app(scope: object, receive: object, send: object) -> None:
                """Receives nothing."""

            config = uvicorn.Config(app, log_config=None)
            config.load()
            protocol = Protocol(config=config, server_state=ServerState(), app_state={})
            async with await asyncio.get_running_loop().create_server(lambda: protocol, sock=listener):
                with socket.create_connection(listener.getsockname()):
                    await connected.wait()
                    served = protocol.transport.get_extra_info("socket")
                    found = served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                await lost.wait()
                return int(found)

        assert asyncio.run(main()) != 0

    def test_wrong_configuration(self) -> None:
        """An invalid configuration raises an error before anything else happens."""
        with pytest.raises(ConfigError):
            serve({"server": {"port": "x"}}, announce=self.refuse)
