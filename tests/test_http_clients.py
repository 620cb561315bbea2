"""Clients that do something unusual: they offer an upgrade, write before they read, stop halfway, or send nonsense."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest
from conftest import PATIENCE
from test_http_server import CHUNKED, Server, Start, _libraries, _start, answer_of, closed, send  # noqa: F401

#: What every client of java.net.http.HttpClient sends with its first request.
OFFER = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA\r\n"
TEXT = "Content-Type: text/plain\r\n"

GARBAGE = b"\x16\x03\x01 garbage\r\n\r\n"


def log_of(server: Server) -> list[str]:
    """Ends a server and returns the lines of its log."""
    server.interrupt()
    code, _, log = server.end()
    assert code == 0
    return log.splitlines()


def refused(connection: socket.socket) -> tuple[int, str]:
    """Reads a response that ends its connection, and returns its status and detail."""
    answer, body = answer_of(connection)
    assert answer.getheader("content-type") == "application/problem+json"
    assert answer.getheader("connection") == "close"
    assert closed(connection)
    problem = json.loads(body)
    assert problem["status"] == answer.status
    return answer.status, problem["detail"]


class TestUpgrade:
    """Offers to change the protocol are ignored."""

    @pytest.mark.parametrize(
        "offer",
        [
            OFFER,
            "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
            "Upgrade: TLS/1.0, HTTP/2.0\r\nConnection: keep-alive, Upgrade\r\n",
            "Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
        ],
        ids=["h2c", "websocket", "tls", "two"],
    )
    def test_body(self, start: Start, offer: str) -> None:
        """The plugin receives the body, further requests are handled, and nothing is logged."""
        server = start()
        for framing, body in (
            ("Content-Length: 5\r\n", b"hello"),
            ("Transfer-Encoding: chunked\r\n", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
            ("Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"),
        ):
            with server.connect() as connection:
                for _ in range(2):
                    send(connection, "/echo", "POST", offer + TEXT + framing, body)
                    answer, found = answer_of(connection, "POST")

                    assert (answer.status, json.loads(found)["body"]) == (200, "hello")
                send(connection, "/echo", headers=offer)
                assert answer_of(connection)[0].status == 200
        assert log_of(server) == []

    def test_pieces(self, start: Start) -> None:
        """Neither the pieces in which requests arrive nor other requests behind them make a difference."""
        server = start()
        one = f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{OFFER}{TEXT}Content-Length: 300\r\n\r\n".encode()
        other = f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{OFFER}{TEXT}Transfer-Encoding: chunked\r\n\r\n".encode()
        sent = (
            one + b"a" * 300 + other + b"1\r\nb\r\n0\r\n\r\n" + b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ) * 20
        chosen = random.Random(5)
        with server.connect() as connection, connection.makefile("rb") as answers:
            for size in (len(sent), 7, None):
                at = 0
                while at < len(sent):
                    end = at + (size or chosen.randrange(1, 900))
                    connection.sendall(sent[at:end])
                    at = end
                found = [body_of(answers) for _ in range(60)]

                assert found == ["a" * 300, "b", None] * 20
        assert log_of(server) == []

    def test_large_body(self, start: Start) -> None:
        """A body that is too large is 413, as without the offer."""
        server = start()
        with server.connect() as connection:
            send(connection, "/echo", "POST", OFFER + "Content-Length: 2000\r\n", b"a" * 1500)

            assert refused(connection)[0] == 413

    def test_connect(self, start: Start) -> None:
        """CONNECT, after which anything could follow, is refused."""
        server = start()
        with server.connect() as connection:
            connection.sendall(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\nanything")

            assert connection.recv(12) in (b"HTTP/1.1 501", b"HTTP/1.1 404")  # h11 takes it as a method like others
        assert log_of(server) == []


def body_of(answers: contextlib.AbstractContextManager[object]) -> object:
    """Reads one of several responses, and returns the body that its plugin received."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += answers.readline()  # type: ignore[attr-defined]
    assert head.startswith(b"HTTP/1.1 200 ")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    return json.loads(answers.read(int(length[1])))["body"]  # type: ignore[attr-defined]


class TestLargeBody:
    """A client that writes its whole request before it reads receives the response."""

    @pytest.mark.parametrize("size", [1 << 20, 20 << 20])
    def test_http_client(self, start: Start, size: int) -> None:
        """http.client receives 413, with the connection that it closes."""
        server = start()
        for _ in range(5):
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
            client.request("POST", "/echo", body=b"a" * size)
            answer = client.getresponse()

            assert (answer.status, answer.getheader("connection")) == (413, "close")
            assert json.loads(answer.read())["detail"] == "the body must not exceed 1000 bytes"
            client.close()
        assert log_of(server) == []

    def test_urllib(self, start: Start) -> None:
        """The same with urllib, which asks for the connection to be closed."""
        server = start()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/echo", b"a" * (1 << 20), timeout=PATIENCE)
        with caught.value:
            assert caught.value.code == 413

    def test_chunks(self, start: Start) -> None:
        """The same if the size is not announced."""
        server = start()
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        client.request("POST", "/echo", body=(b"a" * 65536 for _ in range(100)), encode_chunked=True)

        assert client.getresponse().status == 413
        client.close()

    def test_no_waiting_at_the_end(self, start: Start) -> None:
        """A connection that waits for its client to finish does not delay the shutdown."""
        server = start(shutdown_timeout="1h")
        with server.connect() as connection:
            send(connection, "/echo", "POST", "Content-Length: 1001\r\n", b"half")
            assert answer_of(connection)[0].status == 413
            log = log_of(server)

            assert closed(connection)
        assert log == []


class TestInvalid:
    """Requests that the server does not accept are 400, with problem details, and are counted."""

    def test_refused(self, start: Start) -> None:
        """The response is a problem; the connection is closed; a request without exactly one Host is refused."""
        server = start()
        for sent in (
            GARBAGE,
            b"GET /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: +3\r\n\r\nabc",
            b"GET /echo HTTP/1.1\r\nHost : localhost\r\n\r\n",
            b"GET /echo HTTP/1.1\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
            CHUNKED + b"wrong\r\n",
        ):
            with server.connect() as connection:
                connection.sendall(sent)

                status, detail = refused(connection)
                assert (status, bool(detail)) == (400, True), sent
        assert b'method="OTHER",route="unmatched",status="400"' in server.ask("/metrics")
        assert all("Traceback" not in line for line in log_of(server))

    def test_no_host_in_the_old_version(self, start: Start) -> None:
        """HTTP/1.0 has no Host."""
        server = start()
        with server.connect() as connection:
            connection.sendall(b"GET /echo HTTP/1.0\r\n\r\n")

            assert answer_of(connection)[0].status == 200

    def test_behind_others(self, start: Start) -> None:
        """Requests before an invalid one on the connection get their own responses first."""
        server = start()
        with server.connect() as connection:
            send(connection, "/gated")
            assert server.line() == "gated inside"
            send(connection, "/echo", body=GARBAGE)
            server.release()
            with connection.makefile("rb") as answers:
                found = re.findall(rb"HTTP/1\.1 (\d+)", answers.read())

            assert found == [b"200", b"200", b"400"]


class TestTime:
    """A client has a limited time for whatever the server waits for."""

    def test_nothing(self, start: Start) -> None:
        """A new connection that sends nothing is closed."""
        server = start(head_timeout="100ms")
        with server.connect() as connection:
            assert closed(connection)
        assert log_of(server) == [
            "closed a connection: the request head was not complete after 0.1 s (server.head_timeout)"
        ]

    @pytest.mark.parametrize("before", [0, 1])
    def test_half_a_head(self, start: Start, before: int) -> None:
        """Half a head is 408, whatever came before on the connection."""
        server = start(head_timeout="100ms")
        with server.connect() as connection:
            for _ in range(before):
                send(connection, "/echo")
                answer_of(connection)
            connection.sendall(b"GET /echo HTTP/1.1\r\nHost:")

            assert refused(connection)[0] == 408
        (line,) = log_of(server)
        assert "server.head_timeout" in line

    @pytest.mark.parametrize("framing", ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"])
    def test_half_a_body(self, start: Start, framing: str) -> None:
        """Half a body is 408."""
        server = start(body_timeout="100ms")
        with server.connect() as connection:
            send(connection, "/echo", "POST", framing, b"5\r\nhalf")

            assert refused(connection)[0] == 408
        (line,) = log_of(server)
        assert "server.body_timeout" in line

    def test_idle(self, start: Start) -> None:
        """An idle connection is closed after the configured time, without a log line."""
        server = start(keep_alive_timeout="100ms")
        with server.connect() as connection:
            send(connection, "/echo")
            answer_of(connection)

            assert closed(connection)
        assert log_of(server) == []

    def test_call(self, start: Start) -> None:
        """The time of a call does not count."""
        server = start(head_timeout="10ms", body_timeout="10ms", keep_alive_timeout="10ms")
        with server.connect() as connection, server.connect() as silent:
            send(connection, "/gated")
            assert server.line() == "gated inside"
            assert closed(silent)
            with server.connect() as another:
                assert closed(another)
            server.release()

            assert answer_of(connection)[0].status == 200


class TestNumber:
    """The number of connections is limited."""

    def test_limit(self, start: Start) -> None:
        """Connections beyond the limit respond to health checks only, and one line is logged."""
        server = start(max_connections=3)
        with ExitStack() as stack:
            held = [stack.enter_context(server.connect()) for _ in range(3)]
            send(held[0], "/echo")
            assert answer_of(held[0])[0].status == 200
            for path, status in ("/healthz", 200), ("/readyz", 200), ("/echo", 503), ("/metrics", 503):
                with server.connect() as beyond:
                    send(beyond, path)
                    answer, _ = answer_of(beyond)

                    assert (answer.status, answer.getheader("connection")) == (status, "close")
                    assert closed(beyond)
            send(held[1], "/echo")
            assert answer_of(held[1])[0].status == 200
        with server.connect() as again:
            while True:
                send(again, "/echo")
                if answer_of(again)[0].status == 200:
                    break
                again.close()
                again = stack.enter_context(server.connect())  # noqa: PLW2901
        (line,) = log_of(server)
        assert line.startswith("server.max_connections: 3 connections are open; until one closes, new connections only")

    def test_full_reserve(self, start: Start) -> None:
        """Connections that send nothing do not keep out health checks, however many they are."""
        server = start(max_connections=3)
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(server.connect())
            with server.connect() as check:
                send(check, "/healthz")

                assert answer_of(check)[0].status == 200

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the files of a process")
    def test_default(self, start: Start) -> None:
        """By default the limit leaves a quarter of the files that the process may open."""
        import resource

        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        try:
            server = start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        with ExitStack() as stack:
            for _ in range(192):
                stack.enter_context(server.connect())
            with server.connect() as beyond:
                send(beyond, "/echo")
                assert answer_of(beyond)[0].status == 503
            with server.connect() as check:
                send(check, "/healthz")
                assert answer_of(check)[0].status == 200


class TestHangUp:
    """Clients that disconnect at any point leave no trace but a log line at most."""

    def test_with_requests_behind(self, start: Start) -> None:
        """A client that hangs up during a call, with further requests behind it, is noticed; nothing is logged."""
        server = start()
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            send(connection, "/gated", headers="Expect: 100-continue\r\n")
            assert server.line() == "gated inside"
            send(connection, "/echo")
            send(connection, "/echo")
        until = time.monotonic() + PATIENCE
        while b'route="/gated",status="499"' not in server.ask("/metrics"):
            assert time.monotonic() < until
        server.release()
        server.ask("/gated")
        assert log_of(server) == []

    def test_anywhere(self, start: Start) -> None:
        """Wherever the connection is reset, nothing is logged and the server continues."""
        server = start()
        whole = (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 900\r\n\r\n"
            + b"a" * 900
            + b"GET /gated HTTP/1.1\r\nHost: localhost\r\n\r\n"
            + b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40
            + b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"
            + b"a" * 2000
        )
        server.release()
        chosen = random.Random(7)
        for at in (*range(1, 120, 7), *(chosen.randrange(len(whole)) for _ in range(80))):
            with server.connect() as connection:
                reset = chosen.random() < 0.7
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(whole[:at])
                    if at > 100 and chosen.random() < 0.3:
                        connection.recv(10)
        assert b'"ok"' in server.ask("/healthz")
        assert [line for line in log_of(server) if "gated" not in line] == []


class TestSite:
    """A server on a loopback address answers for this machine's names only."""

    def test_foreign_host(self, start: Start) -> None:
        """Another site's name in Host is 421."""
        server = start()
        with server.connect() as connection:
            for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io"):
                connection.sendall(f"GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

                assert answer_of(connection)[0].status == 421

    def test_foreign_origin(self, start: Start) -> None:
        """A page of another site cannot send a form; one of this server can."""
        server = start()
        with server.connect() as connection:
            for origin, status in (
                ("https://evil.example", 403),
                ("null", 403),
                (f"http://127.0.0.1:{server.port}", 200),
                ("http://localhost:3000", 200),
            ):
                send(
                    connection,
                    "/echo",
                    "POST",
                    f"Origin: {origin}\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n",
                    b"a",
                )
                assert answer_of(connection)[0].status == status

    def test_allowed(self, start: Start) -> None:
        """Configured names are added."""
        server = start(allowed_hosts=["weather.example.com", "*.example.org"])
        with server.connect() as connection:
            for host, status in (
                ("weather.example.com", 200),
                ("Weather.Example.com.:443", 200),
                ("a.b.example.org", 200),
                ("example.org", 421),
                ("localhost", 200),
            ):
                connection.sendall(f"GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert answer_of(connection)[0].status == status
