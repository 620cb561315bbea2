"""Records what a process is about to do, so that it can be read after a crash."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Journal"]

_SIZE = 4096
_NUMBER = 8


class Entry(NamedTuple):
    """The last entry: the number of the case, or ``None``, and the call that was about to be made."""

    case: int | None
    text: str


class Journal:
    """A small memory-mapped file, whose last entry survives any crash of the writer.

    Args:
        path: The file to create.

    Attributes:
        last: The last text written.
    """

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(_SIZE)
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self.last = ""

    def write(self, text: str) -> None:
        """Records the call that is about to be made; a long text is truncated."""
        self.last = text
        line = text.encode("utf-8", "replace")[: _SIZE - _NUMBER - 1] + b"\0"
        self._map[_NUMBER : _NUMBER + len(line)] = line

    def case(self, number: int) -> None:
        """Records the number of the case that is tried."""
        self._map[:_NUMBER] = (number + 1).to_bytes(_NUMBER, "little")

    @staticmethod
    def read(path: Path) -> Entry:
        """Returns the last entry of a file."""
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        number = int.from_bytes(content[:_NUMBER], "little")
        return Entry(number - 1 if number else None, content[_NUMBER:].partition(b"\0")[0].decode("utf-8", "replace"))
