"""Splits a worker's stderr into lines. This module performs no I/O."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from backworks.isolation.pluginlog import RateLimit
from backworks.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LineReader"]

#: How many lines per second to log, and how many to keep for the report of a crash.
_RATE = 100
_KEPT = 20
#: The maximum length of a line in bytes; the rest is cut off.
_LONGEST = 8192


class LineReader:
    """Assembles lines from pieces, passes on a limited number per second, and keeps the last ones.

    A separate line reports how many lines were dropped. Bytes that are not UTF-8 are replaced, control characters are
    escaped, and empty lines are skipped.

    Args:
        write: Receives each line.
        clock: Returns the time in seconds.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._limit = RateLimit(_RATE, _RATE * _LONGEST, clock)
        self._partial = b""
        self._skipping = False  # whether to skip the rest of a line that was cut
        self._last: deque[bytes] = deque(maxlen=_KEPT)

    @property
    def last(self) -> tuple[str, ...]:
        """The last lines, including dropped ones."""
        return tuple(map(_text, self._last))

    def feed(self, data: bytes) -> None:
        """Processes more bytes."""
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            if not newline:
                return
            self._skipping = False
        # Of a flood, only the newlines are counted and a limited number of lines at its end processed.
        self.tick()
        most = max(self._limit.left, _KEPT)
        newlines = data.count(b"\n")
        *head, tail = data.rsplit(b"\n", most + 1) if newlines > most else (b"", *data.split(b"\n"))
        if head[0]:
            self._limit.reject(head[0].count(b"\n") + 1)
            self._partial = b""
        for line in head[1:]:
            self._line(self._partial + line)
            self._partial = b""
        self._partial += tail
        if len(self._partial) > _LONGEST:
            self._line(self._partial)
            self._partial = b""
            self._skipping = True

    def tick(self) -> None:
        """Reports dropped lines if their second is over; must be called periodically."""
        if dropped := self._limit.take_dropped():
            self._tell(dropped)

    def end(self) -> None:
        """Processes the end of the data."""
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        if self._limit.dropped:
            self._tell(self._limit.dropped)
            self._limit.dropped = 0

    @property
    def dropped(self) -> int:
        """How many lines were dropped and not reported yet."""
        return self._limit.dropped

    def _line(self, line: bytes) -> None:
        line = line.rstrip()[:_LONGEST]
        if not line:
            return
        self._last.append(line)
        self.tick()
        if self._limit.admit(len(line)):
            self._write(_text(line))

    def _tell(self, dropped: int) -> None:
        self._write(f"[{dropped} more lines on stderr were dropped: at most {_RATE} per second are logged]")


def _text(line: bytes) -> str:
    return printable(line.decode("utf-8", "replace"))
