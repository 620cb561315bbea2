"""Passes the log records of a plugin to ``logging``: as single lines, and a limited number of them."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from backworks.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PluginLog", "RateLimit"]

#: What a plugin may log in one second: a flood must not fill the disk or occupy the thread that reads it.
_RECORDS = 1000
_CHARACTERS = 1 << 20


class RateLimit:
    """Counts what passes in each second, and what does not.

    Args:
        items: The maximum number of items in a second.
        size: The maximum of their sizes in a second.
        clock: Returns the time in seconds.

    Attributes:
        dropped: The number of items rejected and not returned by :meth:`take_dropped` yet.
    """

    def __init__(self, items: int, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.dropped = 0
        self._items = items
        self._size = size
        self._clock = clock
        self._second = 0.0  # when the current second began
        self._current = 0  # how many items were rejected in it
        self._left = items
        self._room = size

    @property
    def left(self) -> int:
        """How many more items may pass in this second."""
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._left, self._room, self._current = now, self._items, self._size, 0
        return self._left if self._room > 0 else 0

    def admit(self, size: int) -> bool:
        """Counts an item of a size, and returns whether it may pass."""
        if self.left <= 0:
            self.reject(1)
            return False
        self._left -= 1
        self._room -= size
        return True

    def reject(self, count: int) -> None:
        """Counts rejected items."""
        self._current += count
        self.dropped += count

    def take_dropped(self) -> int:
        """Returns how many items were rejected before the current second, each once."""
        if not self.dropped or not self.left:  # the property begins a new second if it is time
            return 0
        dropped, self.dropped = self.dropped - self._current, self._current
        return dropped


class PluginLog:
    """Receives the records of one plugin; callable with a level and a text.

    Args:
        logger: Where the records go.
        clock: Returns the time in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self.logger = logger
        self._limit = RateLimit(_RECORDS, _CHARACTERS, clock)

    @property
    def dropped(self) -> int:
        """How many records were dropped and not reported yet."""
        return self._limit.dropped

    def __call__(self, level: int, text: str) -> None:
        """Logs a record, unless its level is disabled or the plugin has logged too much in this second."""
        if not self.logger.isEnabledFor(level):
            return
        self.report()
        if self._limit.admit(len(text)):
            self.logger.log(level, "%s", printable(text))

    def report(self) -> None:
        """Logs how many records were dropped, once their second is over; also useful after the last record."""
        if dropped := self._limit.take_dropped():
            self.logger.log(
                logging.WARNING,
                "[%d log records were dropped: at most %d records or %d characters per second are logged]",
                dropped,
                _RECORDS,
                _CHARACTERS,
            )
