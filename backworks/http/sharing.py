"""The numbers of several processes as one: each writes its own to a file, and reads those of the others when asked.

What others have counted is up to :data:`EVERY` seconds old. Nothing that was counted is lost: a process that takes the
place of one that died goes on from its numbers.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EVERY", "Shared"]

_logger = logging.getLogger("backworks.http")

#: Seconds from one writing to the next.
EVERY = 1


class Shared:
    """What the processes of one server share.

    Args:
        directory: Where the files are: private, and empty at the server's start.
        place: Which of the processes this is.
    """

    def __init__(self, directory: str, place: int) -> None:
        self._own = Path(directory, f"{place}.json")
        self._writes = True

    def write(self, numbers: dict[str, Any]) -> None:
        """Writes the numbers of this process."""
        new = self._own.with_suffix(".new")
        try:
            new.write_bytes(to_json(numbers))
            new.replace(self._own)  # never half of it
        except PermissionError:
            pass  # Windows: it is being read; the next writing will do
        except OSError as error:
            if self._writes:
                _logger.error("/metrics of the other processes lacks the numbers of this one: %s", error)
            self._writes = False
        else:
            self._writes = True

    def before(self) -> dict[str, Any] | None:
        """Reads the numbers of the process that had this place before."""
        return _read(self._own)

    def others(self) -> Iterator[dict[str, Any]]:
        """Reads the numbers of the other processes."""
        for path in self._own.parent.glob("*.json"):
            if path != self._own and (numbers := _read(path)) is not None:
                yield numbers


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError):  # there is none; Windows: it is being replaced
        numbers: dict[str, Any] = from_json(path.read_bytes())
        return numbers
    return None
