"""Reads a worker's pipes for stderr and log records in the supervisor's loop, on every platform."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from queue import Empty, Queue
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["DescriptorStream", "Stream", "ThreadStream"]

#: The size of one read, in bytes.
_CHUNK = 1 << 16
#: How many bytes to read in one go at most, because a process may write as fast as this one reads.
_LEFT_BEHIND = 1 << 20


class Stream(Protocol):
    """One pipe. All methods are called in the loop's thread."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts to read and to pass the data on."""
        ...

    def drain(self) -> None:
        """Passes on what has arrived so far; a :class:`ThreadStream`, what its thread has read so far."""
        ...

    def finish(self) -> None:
        """Passes on the remaining data and closes the pipe, after the process has ended."""
        ...


class DescriptorStream:
    """A :class:`Stream` that the loop watches.

    Args:
        descriptor: The non-blocking pipe.
        take: Receives the data and returns whether to continue.
    """

    def __init__(self, descriptor: int, take: Callable[[bytes], bool]) -> None:
        self._descriptor = descriptor
        self._take = take
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._descriptor, self._read)

    def drain(self) -> None:
        for _ in range(_LEFT_BEHIND // _CHUNK):
            if not self._read():
                break

    def finish(self) -> None:
        self.drain()
        self._stop()
        os.close(self._descriptor)

    def _read(self) -> bool:
        if self._loop is None:
            return False
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not data or not self._take(data):
            self._stop()
            return False
        return True

    def _stop(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            self._loop = None


class ThreadStream:
    """A :class:`Stream` with a reading thread, for Windows, where no loop can watch a pipe.

    Args:
        descriptor: The pipe.
        take: Receives the data and returns whether to continue.
    """

    def __init__(self, descriptor: int, take: Callable[[bytes], bool]) -> None:
        if sys.platform != "win32":  # pipes on Windows always block
            os.set_blocking(descriptor, True)
        self._descriptor = descriptor
        self._take = take
        self._wanted = True
        self._chunks: Queue[bytes] = Queue(4)  # bounded, so that the thread waits for the loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        threading.Thread(target=self._work, args=(loop,), name="backworks-stream", daemon=True).start()

    def finish(self) -> None:
        # The pipe closes with its process. If another process holds it, the thread stays until that process ends.
        with suppress(Empty):
            while data := self._chunks.get(timeout=1.0):
                self._give(data)

    def drain(self) -> None:
        while self._look():
            pass

    def _look(self) -> bool:
        with suppress(Empty):
            data = self._chunks.get_nowait()
            if data:
                self._give(data)
                return True
            self._chunks.put_nowait(data)  # for finish()
        return False

    def _give(self, data: bytes) -> None:
        self._wanted = self._wanted and self._take(data)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        data = b"?"
        while data:
            try:
                data = os.read(self._descriptor, _CHUNK)
            except OSError:
                data = b""
            self._chunks.put(data)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._look)
        os.close(self._descriptor)
