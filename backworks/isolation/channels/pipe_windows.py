"""Requests and replies over a worker's two pipes, which block, with a thread that writes and reads: for Windows."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from backworks.isolation.channels.channel import LONGEST_WAIT
from backworks.isolation.channels.frames import FrameChannel
from backworks.isolation.process.codec import Frame, FrameError, Gone, Late, checked

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backworks.settings import Limits

__all__ = ["ThreadChannel"]

#: Seconds that it may take to see the end of a pipe whose process has ended.
_LAST = 1.0


class ThreadChannel(FrameChannel):
    """A :class:`~backworks.isolation.channels.channel.Channel` over pipes that block.

    Args:
        requests: Where requests are written.
        replies: Where replies are read.
        ended: Not needed here: the pipe's end tells, since a job takes all of its processes along.
        limits: Bounds the replies.
    """

    def __init__(self, requests: int, replies: int, ended: int, limits: Limits) -> None:
        super().__init__(limits)
        if sys.platform != "win32":  # there every pipe blocks
            os.set_blocking(requests, True)
            os.set_blocking(replies, True)
        self._requests = requests
        self._replies = replies
        self._frames: SimpleQueue[bytes | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._answer: Frame | Exception | None = None
        self._watcher: tuple[asyncio.AbstractEventLoop, Callable[[], object]] | None = None
        threading.Thread(target=self._work, name="backworks-channel", daemon=True).start()

    def advance_frame(self) -> Frame | None:
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

    def notify(self) -> None:
        """Gives the thread the time to see the pipe's end, or the reply before it."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_open or self._answer is not None, _LAST)

    def close(self) -> None:
        self._frames.put(None)

    def _send(self, frame: bytes) -> None:
        self.expect(self.number + 1)
        self._frames.put(frame)

    def _wait(self, until: float | None) -> Frame:
        with self._changed:
            while self._answer is None:
                left = LONGEST_WAIT if until is None else min(LONGEST_WAIT, until - time.monotonic())
                if left <= 0:
                    raise Late
                self._changed.wait(left)
        frame = self.advance_frame()
        assert frame is not None  # noqa: S101  # nobody else takes it
        return frame

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
