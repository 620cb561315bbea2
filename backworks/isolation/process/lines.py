"""Splits a worker's stderr into lines. This module performs no I/O."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

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

    A separate line reports how many lines were dropped. Bytes that are not UTF-8 are replaced; empty lines are skipped.

    Args:
        write: Receives each line.
        clock: Returns the time in seconds.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._partial = b""
        self._skipping = False  # whether to skip the rest of a line that was cut
        self._last: deque[bytes] = deque(maxlen=_KEPT)
        self._second = 0.0  # when the current second began
        self._passed = 0  # lines passed on in that second
        self._dropped = 0

    @property
    def last(self) -> tuple[str, ...]:
        """The last lines, including dropped ones."""
        return tuple(line.decode("utf-8", "replace") for line in self._last)

    def feed(self, data: bytes) -> None:
        """Processes more bytes."""
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            if not newline:
                return
            self._skipping = False
        # Of a flood, only the newlines are counted and a limited number of lines at its end processed.
        most = max(self._left(), _KEPT)
        newlines = data.count(b"\n")
        *head, tail = data.rsplit(b"\n", most + 1) if newlines > most else (b"", *data.split(b"\n"))
        if head[0]:
            self._dropped += head[0].count(b"\n") + 1
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
        """Reports dropped lines if the current second is over; must be called periodically."""
        self._left()

    def end(self) -> None:
        """Processes the end of the data."""
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        if self._dropped:
            self._tell()

    @property
    def dropped(self) -> int:
        """How many lines were dropped and not reported yet."""
        return self._dropped

    def _left(self) -> int:
        now = self._clock()
        if now - self._second >= 1.0:
            self._second = now
            self._passed = 0
            if self._dropped:
                self._tell()
        return _RATE - self._passed

    def _line(self, line: bytes) -> None:
        line = line.rstrip()[:_LONGEST]
        if not line:
            return
        self._last.append(line)
        if self._left() <= 0:
            self._dropped += 1
            return
        self._passed += 1
        self._write(line.decode("utf-8", "replace"))

    def _tell(self) -> None:
        dropped, self._dropped = self._dropped, 0
        self._write(f"[{dropped} more lines on stderr were dropped: at most {_RATE} per second are logged]")
