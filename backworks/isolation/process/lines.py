"""What a worker writes to its standard error output, as lines. There is no input or output in here."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LineReader"]

#: How many lines a second are passed on, and how many are kept for the message of a crash.
_RATE = 100
_KEPT = 20
#: A line is cut here; more is no line but a mistake.
_LONGEST = 8192


class LineReader:
    """Makes lines of bytes that come in pieces, passes on so many a second, and keeps the last ones.

    What is dropped is told in a line of its own. Bytes that are not UTF-8 are replaced, empty lines left out.

    Args:
        write: Takes each line.
        clock: Tells the time in seconds.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._partial = b""
        self._skipping = False  # the rest of a line that was cut
        self._last: deque[bytes] = deque(maxlen=_KEPT)
        self._second = 0.0  # when the present second began
        self._passed = 0  # lines passed on in it
        self._dropped = 0

    @property
    def last(self) -> tuple[str, ...]:
        """The last lines, those that were dropped included."""
        return tuple(line.decode("utf-8", "replace") for line in self._last)

    def feed(self, data: bytes) -> None:
        """Takes more bytes."""
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            if not newline:
                return
            self._skipping = False
        # A flood costs what it takes to count it: only so many lines at the end of it are looked at.
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
        """Tells what was dropped, if the second is over; to be called now and then."""
        self._left()

    def end(self) -> None:
        """Notes that nothing comes any more."""
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        if self._dropped:
            self._tell()

    @property
    def dropped(self) -> int:
        """How many lines were dropped and not told yet."""
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
        self._write(
            f"[{dropped} more lines of its standard error output were left out: at most {_RATE} a second are logged]"
        )
