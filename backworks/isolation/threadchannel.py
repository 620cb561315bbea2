"""Requests and replies over a worker's two pipes, which block, with a thread that writes and reads: for Windows."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from backworks.isolation.channel import LONGEST_WAIT
from backworks.isolation.codec import (
    Frame,
    FrameError,
    FrameReader,
    Gone,
    Late,
    checked,
    encode,
    encode_call,
    reply_limits,
    reply_of,
)
from backworks.isolation.runner import nanoseconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.isolation.options import Limits

__all__ = ["ThreadChannel"]

#: Seconds that it may take to see the end of a pipe whose process has ended.
_LAST = 1.0


class ThreadChannel:
    """A :class:`~backworks.isolation.channel.Channel` over pipes that block.

    Args:
        requests: Where requests are written.
        replies: Where replies are read.
        ended: Not needed here: the pipe's end tells, since a job takes all of its processes along.
        limits: Bounds the replies.
    """

    def __init__(self, requests: int, replies: int, ended: int, limits: Limits) -> None:
        if sys.platform != "win32":  # there every pipe blocks
            os.set_blocking(requests, True)
            os.set_blocking(replies, True)
        self._requests = requests
        self._replies = replies
        self._max_output = limits.output
        self._reader = FrameReader(reply_limits(limits))
        self.number = 0
        self._frames: SimpleQueue[bytes | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._answer: Frame | Exception | None = None
        self.is_open = False
        self._watcher: tuple[asyncio.AbstractEventLoop, Callable[[], object]] | None = None
        threading.Thread(target=self._work, name="backworks-channel", daemon=True).start()

    @property
    def is_ready(self) -> bool:
        return False

    def call(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        until = None if timeout is None else time.monotonic() + timeout
        self.begin(endpoint, method, data, timeout, traceparent, tracestate)
        return self._wait(until)

    def begin(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply | None:
        head, body = encode_call(self.number + 1, endpoint, method, data, nanoseconds(timeout), traceparent, tracestate)
        self._send(b"".join((head, body)))
        return None

    def advance(self) -> Reply | None:
        frame = self.advance_frame()
        return None if frame is None else reply_of(frame, self._max_output)

    def advance_frame(self) -> Frame | None:
        """As :meth:`advance`, whatever the kind of the frame."""
        with self._changed:
            answer = self._answer
            if isinstance(answer, Frame):
                self._answer = None
                self.is_open = False
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watch(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        with self._changed:
            self._watcher = loop, callback
            if self._answer is not None:
                loop.call_soon(callback)

    def unwatch(self) -> None:
        self._watcher = None

    def control(self, kind: int, payload: bytes, timeout: float | None) -> Reply:
        until = None if timeout is None else time.monotonic() + timeout
        self.begin_control(kind, payload)
        return self._wait(until)

    def begin_control(self, kind: int, payload: bytes) -> None:
        self._send(encode(kind, self.number + 1, payload))

    def notify(self) -> None:
        """Gives the thread the time to see the pipe's end, or the reply before it."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_open or self._answer is not None, _LAST)

    def close(self) -> None:
        self._frames.put(None)

    def _send(self, frame: bytes) -> None:
        self.number += 1
        self.is_open = True
        self._frames.put(frame)

    def _wait(self, until: float | None) -> Reply:
        with self._changed:
            while self._answer is None:
                left = LONGEST_WAIT if until is None else min(LONGEST_WAIT, until - time.monotonic())
                if left <= 0:
                    raise Late
                self._changed.wait(left)
        reply = self.advance()
        assert reply is not None  # noqa: S101  # nobody else takes it
        return reply

    def _work(self) -> None:
        while (frame := self._frames.get()) is not None:
            answer: Frame | Exception
            try:
                self._write(frame)
                answer = self._read()
            except (FrameError, Gone) as error:
                answer = error
            except OSError:
                answer = Gone()
            with self._changed:
                self._answer = answer
                self._changed.notify_all()
                watcher = self._watcher
            if watcher is not None:
                with contextlib.suppress(RuntimeError):  # it is closed
                    watcher[0].call_soon_threadsafe(watcher[1])
            del frame, answer
        self._reader.close()
        os.close(self._requests)
        os.close(self._replies)

    def _write(self, frame: bytes) -> None:
        rest = memoryview(frame)
        with contextlib.suppress(BrokenPipeError):  # whether that was the end is seen where the reply would be
            while rest:
                rest = rest[os.write(self._requests, rest) :]

    def _read(self) -> Frame:
        while (frame := self._reader.take()) is None:
            room = self._reader.room()
            data = os.read(self._replies, min(len(room), 1 << 20))
            if not data:
                raise Gone
            room[: len(data)] = data
            self._reader.filled(len(data))
        return checked(frame, self.number)
