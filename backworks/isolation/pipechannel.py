"""Requests and replies over a worker's two pipes, which do not block: an event loop watches them itself."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING

from backworks.isolation.channel import LONGEST_WAIT
from backworks.isolation.codec import (
    Frame,
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

__all__ = ["PipeChannel"]


class PipeChannel:
    """A :class:`~backworks.isolation.channel.Channel` over pipes that do not block.

    Attributes:
        number: The last request that was sent, whose reply is expected.
        is_open: Whether that reply has not come yet.
        ended: Whether the worker has ended.

    Args:
        requests: Where requests are written.
        replies: Where replies are read.
        ended: Becomes readable when the worker has ended; the pipes alone do not tell, because children of the worker
            may have them, too.
        limits: Bounds the replies.
    """

    def __init__(self, requests: int, replies: int, ended: int, limits: Limits) -> None:
        self.ended = False
        self._requests = requests
        self._replies = replies
        self._ended = ended
        self._max_output = limits.output
        self._reader = FrameReader(reply_limits(limits))
        self.number = 0
        self.is_open = False
        self._rest = memoryview(b"")  # of the request
        self._poll = select.poll()
        self._poll.register(replies, select.POLLIN)
        self._poll.register(ended, select.POLLIN)
        self._watcher: tuple[asyncio.AbstractEventLoop, Callable[[], object]] | None = None
        self._writes = False  # whether the watcher's loop watches the pipe for requests

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
        return self.wait(until)

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
        ended = self.ended  # looked at before the pipe: what was sent before the end counts
        if self._rest:
            self._flush()
            if not self._rest:
                self._stop_writing()
        frame = self._read()
        if frame is None and ended:
            raise Gone
        return frame

    def watch(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        self._watcher = loop, callback
        loop.add_reader(self._replies, callback)
        if self._rest:
            self._writes = True
            loop.add_writer(self._requests, callback)
        if self.ended:
            loop.call_soon(callback)

    def unwatch(self) -> None:
        if self._watcher is not None:
            loop, _ = self._watcher
            with contextlib.suppress(RuntimeError):  # it is closed
                self._stop_writing()
                loop.remove_reader(self._replies)
            self._watcher = None

    def control(self, kind: int, payload: bytes, timeout: float | None) -> Reply:
        until = None if timeout is None else time.monotonic() + timeout
        self.begin_control(kind, payload)
        return self.wait(until)

    def begin_control(self, kind: int, payload: bytes) -> None:
        self._send(encode(kind, self.number + 1, payload))

    def notify(self) -> None:
        self.ended = True
        watcher = self._watcher
        if watcher is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                watcher[0].call_soon_threadsafe(watcher[1])

    def close(self) -> None:
        self._reader.close()
        os.close(self._requests)
        os.close(self._replies)

    def expect(self, number: int) -> None:
        """Takes note that the reply to a request will come here which has gone another way."""
        self.number = number
        self.is_open = True

    def _send(self, frame: bytes) -> None:
        self.expect(self.number + 1)
        self._rest = memoryview(frame)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._requests, self._rest) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # whether that was the end is seen where the reply would be
            self._rest = memoryview(b"")

    def wait(self, until: float | None) -> Reply:
        """Waits for the reply to what was begun, to the request that :attr:`number` names."""
        return reply_of(self._wait(until), self._max_output)

    def _wait(self, until: float | None) -> Frame:
        if self._rest:
            self._poll.register(self._requests, select.POLLOUT)
        try:
            while True:
                left = LONGEST_WAIT if until is None else min(LONGEST_WAIT, until - time.monotonic())
                ready = self._poll.poll(max(0.0, left) * 1000)
                ended = self.ended or any(descriptor == self._ended for descriptor, _ in ready)
                if self._rest:
                    self._flush()
                    if not self._rest:
                        self._poll.unregister(self._requests)
                frame = self._read()
                if frame is not None:
                    return frame
                if ended:
                    raise Gone
                if left <= 0:
                    raise Late
        finally:
            if self._rest:
                self._poll.unregister(self._requests)

    def _read(self) -> Frame | None:
        try:
            while (frame := self._reader.take()) is None:
                count = os.readv(self._replies, [self._reader.room()])
                if count == 0:
                    raise Gone
                self._reader.filled(count)
        except BlockingIOError:
            return None
        self.is_open = False
        return checked(frame, self.number)

    def _stop_writing(self) -> None:
        if self._writes and self._watcher is not None:
            self._writes = False
            self._watcher[0].remove_writer(self._requests)
