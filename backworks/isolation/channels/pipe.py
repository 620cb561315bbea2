"""The channel over a worker's two pipes where they are non-blocking, so that an event loop can watch them."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING

from backworks.isolation.channels.channel import LONGEST_WAIT
from backworks.isolation.channels.frames import FrameChannel
from backworks.isolation.process.codec import Frame, Gone, Late, checked

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backworks.settings import Limits

__all__ = ["PipeChannel"]


class PipeChannel(FrameChannel):
    """A :class:`~backworks.isolation.channels.channel.Channel` over non-blocking pipes.

    Attributes:
        ended: Whether the worker has ended.

    Args:
        requests: The pipe for requests.
        replies: The pipe for replies.
        ended: A descriptor that becomes readable when the worker ends; the pipes alone do not show that, because
            children of the worker may hold them, too.
        limits: The limits of replies.
    """

    def __init__(self, requests: int, replies: int, ended: int, limits: Limits) -> None:
        super().__init__(limits)
        self.ended = False
        self._requests = requests
        self._replies = replies
        self._ended = ended
        self._rest = memoryview(b"")  # of the request
        self._poll = select.poll()
        self._poll.register(replies, select.POLLIN)
        self._poll.register(ended, select.POLLIN)
        self._watcher: tuple[asyncio.AbstractEventLoop, Callable[[], object]] | None = None
        self._writes = False  # whether the watcher's loop watches the pipe for requests

    def advance_frame(self) -> Frame | None:
        ended = self.ended  # read before the pipe, because a reply sent before the end counts
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
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._stop_writing()
                loop.remove_reader(self._replies)
            self._watcher = None

    def notify(self) -> None:
        self.ended = True
        watcher = self._watcher
        if watcher is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                watcher[0].call_soon_threadsafe(watcher[1])

    def close(self) -> None:
        self._reader.close()
        os.close(self._requests)
        os.close(self._replies)

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
        except BrokenPipeError:  # reading the reply shows whether the worker has ended
            self._rest = memoryview(b"")

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
