"""The channel over a worker's two pipes on Windows, where they block, so that a thread writes and reads."""

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

#: How many seconds to wait until the thread notices the end of a pipe whose process has ended.
_LAST = 1.0


class ThreadChannel(FrameChannel):
    """A :class:`~backworks.isolation.channels.channel.Channel` over blocking pipes.

    Args:
        requests: The pipe for requests.
        replies: The pipe for replies.
        ended: Unused: a job object ends all its processes together, so the pipe closes with the worker.
        limits: The limits of replies.
    """

    def __init__(self, requests: int, replies: int, ended: int, limits: Limits) -> None:
        super().__init__(limits)
        if sys.platform != "win32":  # pipes on Windows always block
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
        """Waits until the thread has noticed the end of the pipe, or read a reply before it."""
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
        assert frame is not None  # noqa: S101  # only the holder takes it
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
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    watcher[0].call_soon_threadsafe(watcher[1])
            del frame, answer
        self._reader.close()
        os.close(self._requests)
        os.close(self._replies)

    def _write(self, frame: bytes) -> None:
        rest = memoryview(frame)
        with contextlib.suppress(BrokenPipeError):  # reading the reply shows whether the worker has ended
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
