"""Bounded reads: every range is checked to lie inside the file before it is read, unpacked or counted."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.errors import PluginLoadError, PluginNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from struct import Struct

__all__ = ["MAX_ENTRIES", "Damaged", "Image", "Linkage", "Names", "View", "cannot_read", "open_file"]

#: The maximum number of entries in a table. The largest libraries, of machine-learning frameworks, have about 300,000
#: symbols.
MAX_ENTRIES = 1_000_000

#: The maximum size of one read, in bytes: four times the largest string table of a real library.
MAX_READ = 1 << 28


class Damaged(Exception):
    """The bytes violate their format; the message says where, without the file's name."""


@dataclass(frozen=True)
class Linkage:
    """What a library asks of the dynamic linker, and what it provides to others.

    Attributes:
        soname: The name by which other libraries need it, or an empty string.
        search: The directories in which it looks for the libraries that it needs, with ``$ORIGIN`` or ``@loader_path``.
        inherited: Whether the libraries that it needs look there too, as with DT_RPATH.
        undefined: The symbols that another library must export. Weak ones are not included.
        needed_versions: Pairs of a needed library and the name of a symbol version that it must define.
        versions: The names of the symbol versions that the library defines.
    """

    soname: str = ""
    search: tuple[str, ...] = ()
    inherited: bool = False
    undefined: frozenset[str] = frozenset()
    needed_versions: frozenset[tuple[str, str]] = frozenset()
    versions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Image:
    """The result of a format's reader. The fields are those of ``LibraryInfo``.

    ``section`` is the start of the manifest's section, long enough for a manifest of any allowed size.
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
    linkage: Linkage = Linkage()


class View:
    """A part of a file: ``size`` bytes from ``start``. Offsets are relative to its start."""

    def __init__(self, file: FileIO, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self.size = size

    def part(self, offset: int, size: int, what: str) -> View:
        """Returns a part of this view. Raises :exc:`Damaged` if it is not inside."""
        self.check(offset, size, what)
        return View(self._file, self._start + offset, size)

    def check(self, offset: int, size: int, what: str) -> None:
        """Raises :exc:`Damaged` if ``size`` bytes at ``offset`` are not inside."""
        if offset + size > self.size:
            raise Damaged(f"truncated: {what} ends at byte {offset + size} of {self.size}")

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Returns ``size`` bytes at ``offset``; ``what`` names them in errors.

        Raises:
            Damaged: They are not inside, exceed the limit, or the file was just truncated.
        """
        self.check(offset, size, what)
        if size > MAX_READ:
            raise Damaged(f"{what} has {size} bytes; the limit is {MAX_READ}")
        self._file.seek(self._start + offset)
        data = self._file.read(size)
        if data is None:  # a file of /proc that would wait for data
            raise Damaged("the file has no data to read")
        if len(data) != size:
            raise Damaged("the file changed while it was read")
        return data

    def unpack(self, layout: Struct, offset: int, what: str) -> tuple[Any, ...]:
        """Returns the fields of one structure."""
        return layout.unpack(self.read(offset, layout.size, what))

    def table(self, layout: Struct, offset: int, count: int, what: str) -> Iterator[tuple[Any, ...]]:
        """Returns the fields of ``count`` consecutive structures."""
        self.check(offset, count * layout.size, what)
        if count > MAX_ENTRIES:
            raise Damaged(f"{what} has {count} entries; the limit is {MAX_ENTRIES}")
        return layout.iter_unpack(self.read(offset, count * layout.size, what))


class Names:
    """A table of NUL-terminated names.

    Names may overlap, so a small table can expand to an enormous number of bytes. Linkers share little, so the total
    length of all names may be at most twice the size of the table.
    """

    def __init__(self, table: bytes) -> None:
        self._table = table
        self._left = 2 * len(table)

    def at(self, offset: int) -> str:
        """Returns the name at an offset; bytes that are not UTF-8 are escaped.

        Raises:
            Damaged: It is not inside the table, or the names are too long in total.
        """
        end = self._table.find(b"\0", offset) if offset < len(self._table) else -1
        if end < 0:
            raise Damaged(f"a name at {offset} is outside its table of {len(self._table)} bytes")
        self._left -= end + 1 - offset
        if self._left < 0:
            raise Damaged("the names overlap")
        return self._table[offset:end].decode("utf-8", "backslashreplace")


def open_file(path: str | os.PathLike[str]) -> FileIO:
    """Opens a regular file for reading, unbuffered.

    Raises:
        PluginNotFound: The file does not exist, or is a directory, a pipe or a device.
        PluginLoadError: The file cannot be read.
    """
    try:
        # Opening a pipe blocks and opening a device may have effects, so other files are rejected before ...
        _check_regular(path, Path(path).stat().st_mode)
        return FileIO(_open_regular(path), "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise PluginNotFound(f"{path}: no such file", path=Path(path)) from None
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        raise PluginNotFound(f"{str(path)!r} is not a valid file name: {error}", path=Path(path)) from None


def cannot_read(path: str | os.PathLike[str], error: OSError) -> PluginLoadError:
    """Returns the error for a file that exists but cannot be read."""
    return PluginLoadError(f"{path}: cannot read the file: {error.strerror or error}", path=Path(path))


def _open_regular(path: str | os.PathLike[str]) -> int:
    # ... and again after opening, because the file may have been replaced.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
    except PluginNotFound:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise PluginNotFound(f"{path}: is a directory; give the path of the library inside it", path=Path(path))
    if not stat.S_ISREG(mode):
        raise PluginNotFound(f"{path}: is not a regular file", path=Path(path))
