"""Requests and replies over a worker's two pipes.

Strictly one request is open at a time, and whoever holds the worker reads its reply himself: a synchronous caller waits
for the pipe, an event loop watches it. Nothing here takes a lock.

The path of a call: ``call`` writes the frame and waits, or ``begin`` writes it and ``advance`` looks, each time that
the ``watch`` fires, whether the reply is there. The path of an end: the supervisor ``notify``-s; who waits looks at the
pipe one last time, because what was answered before the death is an answer, and raises :exc:`Gone`.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

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

__all__ = ["Channel", "PipeChannel", "ThreadChannel"]

#: Seconds that one wait may take; the system's calls do not take any number.
_LONG = 3600.0
#: Seconds that it may take to see the end of a pipe whose process has ended.
_LAST = 1.0


class Channel(Protocol):
    """The way to one worker. Used by one at a time, but for :meth:`notify`.

    What is raised: :exc:`Late`, :exc:`Gone`, :exc:`FrameError` (all three leave it unusable), ``ContractViolation``
    (the plugin's answer is broken, the channel is not), and ``TypeError`` or ``ValueError`` for arguments that cannot
    be sent, before anything is. The handler of a signal may raise anything at any time.
    """

    @property
    def is_open(self) -> bool:
        """Whether a request was sent whose reply was not taken."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether that reply is there, as far as it can be told without asking the system."""
        ...

    def call(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        """Makes a call and waits for its reply, so many seconds if that is not ``None``."""
        ...

    def begin(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply | None:
        """Begins a call. Returns its reply if that came in no time, or else ``None``."""
        ...

    def advance(self) -> Reply | None:
        """Returns the reply to what was begun, if it is there."""
        ...

    def watch(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Has an event loop call a function whenever :meth:`advance` may have something to do."""
        ...

    def unwatch(self) -> None:
        """Ends the watch; the function may be called once more."""
        ...

    def control(self, kind: int, payload: bytes, timeout: float | None) -> Reply:
        """Sends another frame than a CALL and waits for its reply."""
        ...

    def begin_control(self, kind: int, payload: bytes) -> None:
        """Sends another frame than a CALL."""
        ...

    def notify(self) -> None:
        """Tells that the worker has ended; from any thread."""
        ...

    def close(self) -> None:
        """Closes the host's ends; nobody uses it any more."""
        ...


class PipeChannel:
    """A :class:`Channel` over pipes that do not block.

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
                left = _LONG if until is None else min(_LONG, until - time.monotonic())
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


class ThreadChannel:
    """A :class:`Channel` over pipes that block, with a thread that writes and reads: for Windows.

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
                left = _LONG if until is None else min(_LONG, until - time.monotonic())
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
