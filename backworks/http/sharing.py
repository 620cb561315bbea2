"""Combines the counters of several server processes: each writes its own to a file and reads the others' on request.

The counters of other processes are up to :data:`EVERY` seconds old. The replacement of a process that died continues
from its last counters.
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

#: How often each process writes its counters, in seconds.
EVERY = 1


class Shared:
    """The counters shared by the processes of one server.

    Args:
        directory: The directory of the files: private, and empty at startup of the server.
        place: The index of this process.
    """

    def __init__(self, directory: str, place: int) -> None:
        self._own = Path(directory, f"{place}.json")
        self._writes = True

    def write(self, numbers: dict[str, Any]) -> None:
        """Writes the counters of this process."""
        new = self._own.with_suffix(".new")
        try:
            new.write_bytes(to_json(numbers))
            new.replace(self._own)  # atomic, so readers never see half a file
        except PermissionError:
            pass  # Windows: another process reads the file; the next write will succeed
        except OSError as error:
            if self._writes:
                _logger.error("cannot share counters, so /metrics of other processes will miss them: %s", error)
            self._writes = False
        else:
            self._writes = True

    def before(self) -> dict[str, Any] | None:
        """Returns the counters of the previous process with this index."""
        return _read(self._own)

    def others(self) -> Iterator[dict[str, Any]]:
        """Yields the counters of the other processes."""
        for path in self._own.parent.glob("*.json"):
            if path != self._own and (numbers := _read(path)) is not None:
                yield numbers


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError):  # the file does not exist; on Windows also if it is being replaced
        numbers: dict[str, Any] = from_json(path.read_bytes())
        return numbers
    return None
