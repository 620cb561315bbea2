"""The common part of all channels over pipes, which converts requests to frames and frames to replies."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from backworks.isolation.process.codec import Frame, FrameReader, encode, encode_call, reply_limits, reply_of
from backworks.isolation.timeouts import nanoseconds

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.settings import Limits

__all__ = ["FrameChannel"]


class FrameChannel(ABC):
    """The part of a :class:`~backworks.isolation.channels.channel.Channel` that writes and reads frames.

    Attributes:
        number: The number of the last request.
        is_open: Whether its reply has not arrived yet.
        is_ready: Always false, because a check would need a system call.

    Args:
        limits: The limits of replies.
    """

    is_ready = False

    def __init__(self, limits: Limits) -> None:
        self.number = 0
        self.is_open = False
        self._max_output = limits.output
        self._reader = FrameReader(reply_limits(limits))

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

    def control(self, kind: int, payload: bytes, timeout: float | None) -> Reply:
        until = None if timeout is None else time.monotonic() + timeout
        self.begin_control(kind, payload)
        return self.wait(until)

    def begin_control(self, kind: int, payload: bytes) -> None:
        self._send(encode(kind, self.number + 1, payload))

    def wait(self, until: float | None) -> Reply:
        """Waits for the reply to the request with :attr:`number`."""
        return reply_of(self._wait(until), self._max_output)

    def expect(self, number: int) -> None:
        """Records that the reply to a request is expected."""
        self.number = number
        self.is_open = True

    @abstractmethod
    def advance_frame(self) -> Frame | None:
        """Like :meth:`advance`, but returns a frame of any kind."""

    @abstractmethod
    def _send(self, frame: bytes) -> None:
        """Sends the next request."""

    @abstractmethod
    def _wait(self, until: float | None) -> Frame:
        """Waits for the frame that replies to it."""
