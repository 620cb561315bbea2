"""A private directory that looks like the directory of a library, except that the library in it is a copy.

``$ORIGIN``, ``@loader_path`` and ``dladdr`` lead to the directory of the file that is open. Each directory on the way
to the original therefore has a counterpart here, in which everything else is a link to the original. On Windows, where
only the DLL's own directory is searched and paths are short, it is the only one.
"""

from __future__ import annotations

import contextlib
import os
import sys
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

__all__ = ["Mirror"]

#: A link costs up to a millisecond, so a directory with more entries than this has none: its own, and one above it.
_MAX_BESIDE, _MAX_ABOVE = 1000, 64
#: How many directories above its own a library may find files in: ``prefix/share`` from ``prefix/lib/plugins``.
_LEVELS = 3


class Mirror:
    """The files of a mirrored directory.

    Args:
        root: An empty directory, to which the paths of originals are appended.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._near: set[Path] = set()

    def place(self, file: Path) -> Path:
        """Returns the counterpart of a file, whose directory must have no links in its path, and makes its directory.

        Raises:
            OSError: The directory cannot be created.
        """
        self._near.add(file.parent)
        directory = self._counterpart(file.parent)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory / file.name

    def link(self, without: Container[str] = ()) -> None:
        """Makes links to all other files, as far as they are missing.

        Args:
            without: Names to leave out, because other files will have them.
        """
        above = {parent for directory in self._near for parent in directory.parents[:_LEVELS]} - self._near
        for directory in self._near:
            self._link(directory, _MAX_BESIDE, without)
        if sys.platform != "win32":
            for directory in above:
                self._link(directory, _MAX_ABOVE)

    def _link(self, directory: Path, most: int, without: Container[str] = ()) -> None:
        entries = [entry for entry in islice(_entries(directory), most + 1) if entry.name not in without]
        if len(entries) > most:
            return
        counterpart = self._counterpart(directory)
        present = {entry.name for entry in _entries(counterpart)}
        for entry in entries:
            if entry.name not in present:
                with contextlib.suppress(OSError):
                    _link(entry, counterpart / entry.name)

    def _counterpart(self, directory: Path) -> Path:
        return self.root if sys.platform == "win32" else self.root.joinpath(*directory.parts[1:])


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(directory) as found:  # a directory that may be entered, but not read
        yield from found


if sys.platform == "win32":
    import _winapi

    def _link(entry: os.DirEntry[str], place: Path) -> None:
        """Makes a link; without the privilege for symbolic ones, of the kind that any user can make."""
        try:
            place.symlink_to(entry.path, target_is_directory=entry.is_dir())
        except OSError:
            if entry.is_dir():
                _winapi.CreateJunction(entry.path, str(place))
            else:
                place.hardlink_to(entry.path)
else:

    def _link(entry: os.DirEntry[str], place: Path) -> None:
        place.symlink_to(entry.path)
