"""Bounded reads: nothing is read, unpacked or counted before it is known to lie inside of the file."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.errors import PluginLoadError, PluginNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from struct import Struct

__all__ = ["MAX_ENTRIES", "Damaged", "Image", "Names", "View", "cannot_read", "open_file"]

#: Entries of one table. Libraries of machine-learning frameworks, the largest there are, have some 300,000
#: symbols.
MAX_ENTRIES = 1_000_000

#: Bytes that are held at once: the largest string tables of real libraries are a quarter of it.
MAX_READ = 1 << 28


class Damaged(Exception):
    """The bytes break the rules of their format; the text says where, without the file's name."""


@dataclass(frozen=True)
class Image:
    """What the reader of one format found. The fields are those of ``LibraryInfo``.

    ``section`` is the start of the manifest's section: the whole manifest where it has an allowed size.
    """

    format: str
    system: str
    architectures: tuple[str, ...]
    bits: int
    kind: str
    exports: frozenset[str] = frozenset()
    needed: tuple[str, ...] = ()
    section: bytes | None = None
    big_endian: bool = False


class View:
    """A part of a file, from ``start``, of ``size`` bytes. Offsets count from its start."""

    def __init__(self, file: FileIO, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self.size = size

    def part(self, offset: int, size: int, what: str) -> View:
        """Returns a part of this part. Raises :exc:`Damaged` if it is not inside."""
        self.check(offset, size, what)
        return View(self._file, self._start + offset, size)

    def check(self, offset: int, size: int, what: str) -> None:
        """Raises :exc:`Damaged` if ``size`` bytes at ``offset`` are not inside."""
        if offset + size > self.size:
            raise Damaged(f"cut off: {what} ends at byte {offset + size} of {self.size}")

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Returns ``size`` bytes at ``offset``; ``what`` names them where they are missing.

        Raises:
            Damaged: They are not inside, are more than anybody needs, or have just been cut off.
        """
        self.check(offset, size, what)
        if size > MAX_READ:
            raise Damaged(f"{what} has {size} bytes; at most {MAX_READ} are read")
        self._file.seek(self._start + offset)
        data = self._file.read(size)
        if len(data) != size:
            raise Damaged("changed while it was read")
        return data

    def unpack(self, layout: Struct, offset: int, what: str) -> tuple[Any, ...]:
        """Returns the fields of one structure."""
        return layout.unpack(self.read(offset, layout.size, what))

    def table(self, layout: Struct, offset: int, count: int, what: str) -> Iterator[tuple[Any, ...]]:
        """Returns the fields of ``count`` structures that follow each other."""
        self.check(offset, count * layout.size, what)
        if count > MAX_ENTRIES:
            raise Damaged(f"{what} has {count} entries; at most {MAX_ENTRIES} are read")
        return layout.iter_unpack(self.read(offset, count * layout.size, what))


class Names:
    """A table of NUL-terminated names.

    Names may share their ends, so that a small table can spell out an enormous number of bytes. No linker
    shares much: all names together are allowed twice the bytes of the table.
    """

    def __init__(self, table: bytes) -> None:
        self._table = table
        self._left = 2 * len(table)

    def at(self, offset: int) -> str:
        """Returns the name at that offset; bytes that are no UTF-8 are escaped.

        Raises:
            Damaged: It is not inside of the table, or there are too many names.
        """
        end = self._table.find(b"\0", offset) if offset < len(self._table) else -1
        if end < 0:
            raise Damaged(f"a name at {offset} is outside of its table of {len(self._table)} bytes")
        self._left -= end + 1 - offset
        if self._left < 0:
            raise Damaged("the names overlap")
        return self._table[offset:end].decode("utf-8", "backslashreplace")


def open_file(path: str | os.PathLike[str]) -> FileIO:
    """Opens a regular file for reading, without buffers.

    Raises:
        PluginNotFound: There is none of that name, or it is something else: a directory, a pipe, a device.
        PluginLoadError: It cannot be read.
    """
    try:
        # Opening a pipe waits and opening a device may act, so what is no file is refused before ...
        _check_regular(path, Path(path).stat().st_mode)
        return open(path, "rb", buffering=0, opener=_open_regular)
    except (FileNotFoundError, NotADirectoryError):
        raise PluginNotFound(f"{path}: there is no such file", path=Path(path)) from None
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        raise PluginNotFound(f"{str(path)!r} cannot name a file: {error}", path=Path(path)) from None


def cannot_read(path: str | os.PathLike[str], error: OSError) -> PluginLoadError:
    """Makes the error for a file that is there and cannot be read."""
    return PluginLoadError(f"{path}: cannot be read: {error.strerror or error}", path=Path(path))


def _open_regular(path: str, flags: int) -> int:
    # ... and once more when it is open, since something else may have taken its place.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
    except PluginNotFound:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise PluginNotFound(f"{path}: is a directory; name the library inside of it", path=Path(path))
    if not stat.S_ISREG(mode):
        raise PluginNotFound(f"{path}: is not a regular file", path=Path(path))
