"""Requests and replies through a mailbox: memory that host and worker both have. On Linux, over the compiled binding.

The hand-over is ``native/wire/mailbox.h``, the host's end of it ``native/fastpath/mailbox.c``; here is what is rare:
what does not fit and goes over the pipes, and frames that need a second look.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, cast

from backworks import ffi
from backworks.isolation.process.codec import (
    HEADER,
    FrameError,
    FrameReader,
    Gone,
    Late,
    checked,
    reply_limits,
    reply_of,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from typing_extensions import Buffer

    from backworks.ffi._native import Mailbox
    from backworks.ffi.contract import Reply
    from backworks.isolation.channels.pipe import PipeChannel
    from backworks.settings import Limits

__all__ = ["MailboxChannel", "create"]

#: The largest payload of a frame in the mailbox.
_LARGEST = (32 << 20) - 0x90 - HEADER.size

#: How many seconds nothing has to happen before the pages of large messages are given back: getting them again takes
#: about as long as a large call, and several times as long where the system has no huge pages.
_IDLE = 10.0


def create() -> Mailbox | None:
    """Returns a new mailbox, or ``None`` where there is none: another system, another binding, no memory for it."""
    make = getattr(ffi.compiled(), "mailbox", None)
    try:
        return None if make is None else cast("Mailbox", make())
    except OSError:
        return None


class MailboxChannel:
    """A :class:`~backworks.isolation.channels.channel.Channel` through a mailbox.

    Args:
        pipe: The channel over the same worker's pipes, for what does not fit.
        mailbox: What :func:`create` returned, whose descriptors the worker was given.
        limits: Bounds the replies.
        timers: A loop that runs for as long as the channel is used, in any thread.
    """

    def __init__(self, pipe: PipeChannel, mailbox: Mailbox, limits: Limits, timers: asyncio.AbstractEventLoop) -> None:
        self._timers = timers
        self._pipe = pipe
        self._box = mailbox
        self._max_output = limits.output
        self._allowed = reply_limits(limits)
        self._watcher: tuple[asyncio.AbstractEventLoop, Callable[[], object]] | None = None
        # The loops that watch the eventfd, also between calls. Each adds and removes itself, in its own thread.
        self._loops: set[asyncio.AbstractEventLoop] = set()
        self._closing = False
        mailbox.attach(
            limits.output,
            large=self._large,
            judge=self._judge,
            by_pipe=self._by_pipe,
            begin_by_pipe=self._begin_by_pipe,
            from_pipe=self._from_pipe,
            begin_from_pipe=self._begin_from_pipe,
            gone=Gone,
            late=Late,
            frame_error=FrameError,
        )
        # No frame of Python between the caller and C.
        self.call = mailbox.call
        self.begin = mailbox.begin

    @property
    def ended(self) -> bool:
        """Whether the worker has ended."""
        return self._box.ended

    @property
    def is_open(self) -> bool:
        """Whether a request was sent whose reply was not taken."""
        return self._box.is_open or self._pipe.is_open

    @property
    def is_ready(self) -> bool:
        """Whether that reply is in the mailbox."""
        return self._box.is_ready

    def advance(self) -> Reply | None:
        """Returns the reply to what was begun, if it is there."""
        return self._pipe.advance() if self._pipe.is_open else self._box.advance()

    def watch(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Has an event loop call a function whenever :meth:`advance` may have something to do."""
        self._watcher = loop, callback
        if self._pipe.is_open:
            self._pipe.watch(loop, callback)
        elif loop not in self._loops:
            self._forget_closed_loops()
            self._loops.add(loop)
            loop.add_reader(self._box.event_fd, self._alarm, loop)
        if self.ended:
            loop.call_soon(callback)

    def unwatch(self) -> None:
        """Ends the watch. The loop keeps its reader of the eventfd, because removing one costs as much as a call."""
        self._watcher = None
        self._pipe.unwatch()

    def control(self, kind: int, payload: bytes, timeout: float | None) -> Reply:
        """Sends another frame than a CALL and waits for its reply."""
        if len(payload) > _LARGEST:
            until = None if timeout is None else time.monotonic() + timeout
            self._pipe.begin_control(kind, payload)
            self._box.announce()
            return self._pipe.wait(until)
        return self._box.control(kind, payload, timeout)

    def begin_control(self, kind: int, payload: bytes) -> None:
        """Sends another frame than a CALL."""
        if len(payload) > _LARGEST:
            self._pipe.begin_control(kind, payload)
            self._box.announce()
        else:
            self._box.begin_control(kind, payload)

    def notify(self) -> None:
        """Tells that the worker has ended; from any thread."""
        self._box.notify()
        self._pipe.notify()
        watcher = self._watcher
        if watcher is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                watcher[0].call_soon_threadsafe(watcher[1])

    def close(self) -> None:
        """Ends it; nobody uses it any more."""
        self._watcher = None
        self._pipe.close()
        self._closing = True
        for loop in tuple(self._loops):
            with contextlib.suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(self._forget, loop)
        self._close_if_forgotten()

    # What the mailbox leaves to Python; its attach is given these methods.

    def _large(self) -> None:
        """A large message has been in the mailbox: gives its pages back when nobody needs them for a while."""
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            self._timers.call_soon_threadsafe(self._timers.call_later, _IDLE, self._trim)

    def _by_pipe(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        """Makes a call that does not fit into the mailbox."""
        until = None if timeout is None else time.monotonic() + timeout
        self._pipe.begin(endpoint, method, data, timeout, traceparent, tracestate)
        self._box.announce()
        return self._pipe.wait(until)

    def _begin_by_pipe(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply | None:
        """Begins such a call."""
        self._pipe.begin(endpoint, method, data, timeout, traceparent, tracestate)
        self._box.announce()
        return None

    def _from_pipe(self, number: int, timeout: float | None) -> Reply:
        """Takes a reply that does not fit into the mailbox."""
        until = None if timeout is None else time.monotonic() + timeout
        self._pipe.expect(number)
        return self._pipe.wait(until)

    def _begin_from_pipe(self, number: int) -> Reply | None:
        """Begins to take such a reply."""
        self._pipe.expect(number)
        if self._watcher is not None:
            self._pipe.watch(*self._watcher)
        return self.advance()

    def _judge(self, frame: bytes, number: int) -> Reply:
        """Says what is wrong with a frame, or what it means after all."""
        reader = FrameReader(self._allowed)
        view = memoryview(frame)
        while (found := reader.take()) is None and view:
            room = reader.room()
            count = min(len(room), len(view))
            room[:count], view = view[:count], view[count:]
            reader.filled(count)
        if found is None:
            raise FrameError(f"a frame that does not fit into the {_LARGEST} bytes of the mailbox")
        return reply_of(checked(found, number), self._max_output)

    def _trim(self) -> None:
        if not self._box.trim():
            self._timers.call_later(_IDLE, self._trim)

    def _alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handles a readable eventfd, in the thread of a loop.

        Only the loop that waits may look at the mailbox: another one that still has its reader would do so at the same
        time, and both would take the reply and give the worker back. That other loop removes its reader, and so does
        one that a worker wakes for nothing.
        """
        watcher = self._watcher
        if watcher is not None and watcher[0] is loop and not self._pipe.is_open:
            watcher[1]()
        else:
            self._forget(loop)

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Removes a loop's reader of the eventfd, in the loop's own thread."""
        if loop in self._loops:
            loop.remove_reader(self._box.event_fd)
            self._loops.discard(loop)
        if self._closing:
            self._close_if_forgotten()

    def _forget_closed_loops(self) -> None:
        """Drops the loops that were closed, which have no readers any more."""
        for loop in tuple(self._loops):
            if loop.is_closed():
                self._loops.discard(loop)

    def _close_if_forgotten(self) -> None:
        """Closes the mailbox unless a loop watches its eventfd, whose number may mean something else afterwards."""
        self._forget_closed_loops()
        if not self._loops:
            self._box.close()
