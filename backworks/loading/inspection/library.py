"""Makes a :class:`LibraryInfo` from a path: opens the file, detects the format, and calls its reader."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.errors import NotALibraryError
from backworks.loading.inspection import elf, macho, pe
from backworks.loading.inspection.manifest import read_section
from backworks.loading.inspection.reader import Damaged, Linkage, View, cannot_read, open_file

if TYPE_CHECKING:
    from io import FileIO

    from backworks.loading.inspection.reader import Image

__all__ = ["LibraryInfo", "file_sha256", "inspect_file", "inspect_library"]

#: The maximum size of a library, in bytes. The code of a larger one cannot reach its own data on most processors.
_MAX_SIZE = 1 << 31

#: Files that are mistaken for libraries.
_LOOKALIKES = {
    b"!<arch>\n": "a static library; link a shared one",
    b"\0asm": "a WebAssembly module, not a native library",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"\x1f\x8b": "a gzip archive; unpack it first",
}


@dataclass(frozen=True)
class LibraryInfo:
    """The metadata of a library file.

    Attributes:
        path: The file, as the caller named it.
        size: The size of the file, in bytes.
        format: ``"elf"``, ``"mach-o"`` or ``"pe"``.
        system: ``"linux"``, ``"macos"``, ``"windows"``, or the name of another system.
        architectures: The processors: ``"x86_64"``, ``"aarch64"``, ``"riscv64"``, ... A fat Mach-O file has several;
            its other fields describe the slice for this machine, or the first slice if there is none.
        bits: 64 or 32. Only the fields above and ``kind`` are read from a 32-bit file.
        kind: ``"shared library"``, ``"bundle"`` (which macOS also loads), ``"executable"``, ``"object file"``, ...
        exports: The names of exported functions and data, as written in C.
        needed: The libraries that it is linked to.
        manifest: The manifest, or ``None`` if it is missing or invalid.
        manifest_problem: What is wrong with the manifest, or ``None``.
        linkage: What it asks of the dynamic linker. Complete for ELF; for Mach-O without symbols and versions.
    """

    path: Path
    size: int
    format: str
    system: str
    architectures: tuple[str, ...]
    bits: int
    kind: str
    exports: frozenset[str] = field(repr=False)
    needed: tuple[str, ...]
    manifest: dict[str, Any] | None = field(hash=False)
    manifest_problem: str | None
    linkage: Linkage = field(default=Linkage(), repr=False)


def inspect_library(path: str | os.PathLike[str]) -> LibraryInfo:
    """Reads the metadata of a library, without loading or hashing it.

    A library for another system or processor, or one that is not a plugin, is read like any other;
    :func:`~backworks.loading.inspection.problems` says whether it can be loaded.

    Raises:
        PluginNotFound: The file does not exist, or is not a regular file.
        NotALibraryError: The file is empty, text, truncated or otherwise not an ELF, Mach-O or PE file.
        PluginLoadError: The file cannot be read.
    """
    with open_file(path) as file:
        return inspect_file(file, path)


def inspect_file(file: FileIO, path: str | os.PathLike[str]) -> LibraryInfo:
    """Reads the metadata of an open file; see :func:`inspect_library`.

    Args:
        file: The file.
        path: The path for the result and for errors.

    Raises:
        NotALibraryError: The file is not a library.
        PluginLoadError: The file cannot be read.
    """
    try:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_SIZE:
            raise Damaged(f"its size is {size} bytes; the limit for a library is {_MAX_SIZE}")
        view = View(file, 0, size)
        image = _read(view, view.read(0, min(size, 64), "the file"))
    except Damaged as error:
        raise NotALibraryError(f"{path}: {error}", path=Path(path)) from None
    except OSError as error:
        raise cannot_read(path, error) from error
    manifest, problem = None, None
    if image.section is not None:
        manifest, problem = read_section(image.section, big_endian=image.big_endian)
    return LibraryInfo(
        path=Path(path),
        size=size,
        format=image.format,
        system=image.system,
        architectures=image.architectures,
        bits=image.bits,
        kind=image.kind,
        exports=image.exports,
        needed=image.needed,
        manifest=manifest,
        manifest_problem=problem,
        linkage=image.linkage,
    )


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    Raises:
        PluginNotFound: The file does not exist, or is not a regular file.
        PluginLoadError: The file cannot be read.
    """
    with open_file(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise cannot_read(path, error) from error


def _read(view: View, head: bytes) -> Image:
    readers = {
        elf.MAGIC: ("ELF", elf.read),
        pe.MAGIC: ("PE", pe.read),
        **dict.fromkeys(macho.MAGICS, ("Mach-O", macho.read)),
        **dict.fromkeys(macho.FAT_MAGICS, ("fat Mach-O", macho.read_fat)),
    }
    for magic, (name, read) in readers.items():
        if head.startswith(magic):
            try:
                return read(view)
            except Damaged as error:
                raise Damaged(f"{name} file: {error}") from None
    raise Damaged(f"not a library: {_describe(head)}")


def _describe(head: bytes) -> str:
    if not head:
        return "the file is empty"
    for magic, what in _LOOKALIKES.items():
        if head.startswith(magic):
            return f"the file is {what}"
    line = head.split(b"\n", 1)[0].rstrip(b"\r")[:40]
    if line and line.isascii() and line.decode("ascii").isprintable():
        return f"the file starts with {line.decode('ascii')!r}"
    return f"the file starts with the bytes {head[:8].hex(' ')}"
