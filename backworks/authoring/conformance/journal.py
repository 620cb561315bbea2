"""What a process is about to do, where it can be read after the process has crashed."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Journal"]

_SIZE = 4096
_NUMBER = 8


class Entry(NamedTuple):
    """What was written last: the case by its number, or ``None``, and what was about to be called."""

    case: int | None
    text: str


class Journal:
    """A small file that is mapped: what was written last survives the writer, whatever ends it.

    Args:
        path: The file, which is made.

    Attributes:
        last: What was written last.
    """

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(_SIZE)
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self.last = ""

    def write(self, text: str) -> None:
        """Says what is about to be called; what is too long is cut."""
        self.last = text
        line = text.encode("utf-8", "replace")[: _SIZE - _NUMBER - 1] + b"\0"
        self._map[_NUMBER : _NUMBER + len(line)] = line

    def case(self, number: int) -> None:
        """Says which of many cases is tried."""
        self._map[:_NUMBER] = (number + 1).to_bytes(_NUMBER, "little")

    @staticmethod
    def read(path: Path) -> Entry:
        """Returns what was written last."""
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        number = int.from_bytes(content[:_NUMBER], "little")
        return Entry(number - 1 if number else None, content[_NUMBER:].partition(b"\0")[0].decode("utf-8", "replace"))
