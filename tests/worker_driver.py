"""A client of the worker program after PROTOCOL.md, with ``struct`` only: independent of the host's implementation."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from conftest import PATIENCE

from backworks.isolation.process.spawn import program

#: The worker program; the variable selects another, such as one with sanitizers.
PROGRAM = os.environ.get("BACKWORKS_TEST_WORKER") or str(program())

START, CALL, HEALTH, RECONFIGURE, SHUTDOWN, READY, REPLY, REFUSED, LOG = 1, 2, 3, 4, 5, 129, 130, 131, 192

NONE, NO_DATA = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


class Answer(NamedTuple):
    """The fields of a REPLY's payload."""

    code: int
    data: bytes | None
    status: int = 0
    content_type: bytes | None = None
    headers: bytes | None = None


class Broken(NamedTuple):
    """The payload of a REPLY that names the violated rule and the claimed sizes."""

    code: int
    field: int
    data: int
    content_type: int = NONE
    headers: int = NONE


class Frames:
    """Reads frames from a pipe."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._have = bytearray()

    def _need(self, size: int, until: float) -> bytes | None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.descriptor, selectors.EVENT_READ)
            while len(self._have) < size:
                assert waiting.select(max(0, until - time.monotonic())), f"{len(self._have)} of {size} bytes came"
                chunk = os.read(self.descriptor, 1 << 20)
                if not chunk:
                    return None
                self._have += chunk
        taken = bytes(self._have[:size])
        del self._have[:size]
        return taken

    def drain(self) -> None:
        """Reads what is in the pipe now, for later."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.descriptor, selectors.EVENT_READ)
            while waiting.select(0):
                self._have += os.read(self.descriptor, 1 << 20)

    def read(self) -> tuple[int, int, bytes] | None:
        """Returns kind, id and payload of the next frame, or ``None`` at the end of the pipe."""
        until = time.monotonic() + PATIENCE
        header = self._need(16, until)
        if header is None:
            return None
        size, kind, number = struct.unpack("<IIQ", header)
        payload = self._need(size, until)
        return None if payload is None else (kind, number, payload)


class Worker:
    """One worker process, killed at the end of the ``with`` block."""

    def __init__(
        self,
        options: Sequence[str] = (),
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> None:
        log, log_end = os.pipe()
        environment = {**(environment or {}), **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
        self.process = subprocess.Popen(
            [PROGRAM, "--log", str(log_end), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(log_end, *descriptors),
            env=environment,
            bufsize=0,
            **{"start_new_session": True, **popen},
        )
        os.close(log_end)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.requests = self.process.stdin
        self.replies = Frames(self.process.stdout.fileno())
        self.log = Frames(log)
        self.stderr = self.process.stderr
        self._number = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        os.close(self.log.descriptor)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def send_bytes(self, data: bytes) -> None:
        """Writes all of the data to the request pipe, unless the worker exits."""
        view = memoryview(data)
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[self.requests.write(view) :]

    def send(self, kind: int, payload: bytes = b"") -> int:
        """Sends a frame and returns its id."""
        self._number += 1
        self.send_bytes(struct.pack("<IIQ", len(payload), kind, self._number) + payload)
        return self._number

    def ask(self, kind: int, payload: bytes = b"") -> tuple[int, bytes]:
        """Sends a frame and returns kind and payload of its reply, which must have the same id."""
        number = self.send(kind, payload)
        frame = self.replies.read()
        assert frame is not None, f"no reply; {self.wait()}; {self.errors()!r}"
        assert frame[1] == number
        return frame[0], frame[2]

    def start(self, path: Path | str | bytes, config: bytes = b"{}", **numbers: int) -> tuple[int, bytes]:
        """Sends START and returns kind and payload of its reply."""
        return self.ask(START, start(path, config, **numbers))

    def ready(self, path: Path | str | bytes, config: bytes = b"{}", **numbers: int) -> Worker:
        """Sends START, which must succeed."""
        kind, payload = self.start(path, config, **numbers)
        assert kind == READY, payload
        return self

    def call(self, endpoint: bytes = b"", data: bytes = b"", method: bytes = b"GET", **more: Any) -> Answer | Broken:
        """Sends CALL and returns its reply."""
        kind, payload = self.ask(CALL, call(endpoint, data, method, **more))
        assert kind == REPLY
        return answer(payload)

    def data(self, endpoint: bytes, data: bytes = b"") -> bytes:
        """Sends CALL and returns the data of its reply, which must be OK."""
        reply = self.call(endpoint, data)
        assert isinstance(reply, Answer)
        assert reply.code == 0, reply
        assert reply.data is not None
        return reply.data

    def wait(self) -> int:
        """Waits for the process; returns its exit code, or the negative number of the signal that ended it."""
        return self.process.wait(PATIENCE)

    def errors(self) -> bytes:
        """Returns what the process, which must have ended, wrote to stderr."""
        return self.stderr.read()

    def records(self) -> list[tuple[int, bytes]]:
        """Returns level and text of all log records of the process, which must have ended."""
        records = []
        while (frame := self.log.read()) is not None:
            kind, number, payload = frame
            assert (kind, number) == (LOG, 0)
            records.append((struct.unpack_from("<I", payload)[0], payload[4:]))
        return records


def start(
    path: Path | str | bytes,
    config: bytes = b"{}",
    *,
    protocol: int = 1,
    flags: int = 0,
    memory: int = 0,
    cpu: int = 0,
    files: int = 0,
    processes: int = 0,
    max_output: int = 0,
) -> bytes:
    """Returns the payload of a START."""
    path = os.fsencode(path)
    numbers = (protocol, flags, memory, cpu, files, processes, max_output, len(path), len(config))
    return struct.pack("<IIQQQQQII", *numbers) + path + config


def call(
    endpoint: bytes = b"",
    data: bytes = b"",
    method: bytes = b"GET",
    *,
    time_left: int = 0,
    traceparent: bytes | None = None,
    tracestate: bytes | None = None,
) -> bytes:
    """Returns the payload of a CALL."""
    traces = [NONE if text is None else len(text) for text in (traceparent, tracestate)]
    head = struct.pack("<QIIIIQ", time_left, len(endpoint), len(method), *traces, len(data))
    return b"".join((head, endpoint, method, traceparent or b"", tracestate or b"", data))


def answer(payload: bytes) -> Answer | Broken:
    """Parses the payload of a REPLY."""
    code, status, type_size, headers_size, size, broken, zero = struct.unpack_from("<iIIIQII", payload)
    assert zero == 0
    rest = payload[32:]
    if broken:
        assert rest == b""
        return Broken(code, broken, size, type_size, headers_size)
    fields: list[bytes | None] = []
    for length, none in ((type_size, NONE), (headers_size, NONE), (size, NO_DATA)):
        fields.append(None if length == none else rest[:length])
        rest = rest if length == none else rest[length:]
    assert rest == b""
    return Answer(code, fields[2], status, fields[0], fields[1])
