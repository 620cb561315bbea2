"""Private copies of libraries: the host opens exactly the bytes that it has verified.

A library that is overwritten while it is mapped crashes its host. One that is replaced between the check and ``dlopen``
bypasses the check. A path that has been opened once returns the old library from then on. The host therefore copies
each library, and those that it brings along, into a directory that only this user can enter, and checks and opens only
the copies. The directory mirrors that of the original, so a library finds what is beside it. Changed content gets a
different path, so ``dlopen`` loads it again.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from backworks.errors import NotALibraryError, PluginLoadError, PluginNotFound
from backworks.loading.dependencies import brought_along
from backworks.loading.inspection import inspect_file, inspect_library
from backworks.loading.inspection.reader import cannot_read, open_file
from backworks.loading.mirror import Mirror
from backworks.loading.private import new_directory, private_directory, remove, temporary_directory, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from backworks.loading.dependencies import Found
    from backworks.loading.inspection import LibraryInfo

__all__ = ["Dependency", "Staged", "stage"]

_CHUNK = 1 << 20
_log = logging.getLogger(__name__)


class Dependency(NamedTuple):
    """A library that another one brings along.

    Attributes:
        name: The name under which the dynamic linker knows it.
        path: The original file.
        identity: What changes with its content.
    """

    name: str
    path: Path
    identity: str


class Staged:
    """A private copy, which is removed when nothing refers to this object any more. Thread-safe.

    Attributes:
        sha256: The hash of its content, in hexadecimal.
        digest: The hash of its content and of the libraries that it brings along.
        info: The metadata of the copy, with the path of the original.
        dependencies: The libraries that it brings along.
    """

    def __init__(self, copies: _Copies) -> None:
        self.sha256 = copies.sha256
        self.digest = copies.digest
        self.info = copies.info
        self.dependencies = tuple(copies.dependencies)
        self._copies = copies
        self._seen: list[tuple[int, ...] | None] | None = None  # the status of the copies when they were last hashed
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The copy: ``<private directory>/<sha256>-<random>/<path of the original>``."""
        return self._copies.path

    def verified(self) -> Path:
        """Returns the path of the copy to open, after checking that it is what was staged, or staging it again.

        Raises:
            PluginLoadError: The copy was removed or modified, and the original has changed or cannot be copied.
        """
        with self._lock:
            if self._seen is None or self._copies.look() != self._seen:
                # A plugin runs as the same user and may have modified the copy; /tmp may have been cleaned.
                if not self._copies.unchanged():
                    self._stage_again()
                self._seen = self._copies.look()
            self._copies.mirror.link()  # only now: most copies of a reload are not opened, and files may be new
            return self._copies.path

    def _stage_again(self) -> None:
        path = self.info.path
        copies = _Copies(path)
        if copies.digest != self.digest:
            raise PluginLoadError(
                f"the private copy of {path} was removed or modified, and the file itself has changed since it was "
                "loaded; load it again",
                path=path,
            )
        _log.warning(
            "%s: its private copy in %s was removed or modified; copied it again", path, self._copies.mirror.root.parent
        )
        self._copies = copies


#: The copies in use, by original and digest. The same content has the same path as long as it is in use.
_known: weakref.WeakValueDictionary[tuple[Path, str], Staged] = weakref.WeakValueDictionary()
_sharing = threading.Lock()


def stage(path: Path) -> Staged:
    """Copies a library, and those that it brings along, and hashes the bytes as it writes them.

    Raises:
        PluginNotFound: The file does not exist, or is not a regular file.
        NotALibraryError: The file is not a library; it has not been copied.
        PluginLoadError: The file cannot be read, or the copy cannot be written or executed.
    """
    original = path.absolute()
    copies = _Copies(original)
    with _sharing:
        staged = _known.get((original, copies.digest))
        if staged is None:
            staged = _known[original, copies.digest] = Staged(copies)
        return staged


class _Copies:
    """The copies of a library and of those that it brings along.

    Attributes:
        path, sha256, info: The copy of the library, its hash and metadata.
        digest: The hash of all of them.
        dependencies: The libraries that it brings along.
        mirror: The directory that contains the copies.
    """

    def __init__(self, original: Path) -> None:
        temporary, self.sha256, self.info = _copy(original)
        try:
            self.mirror = Mirror(new_directory(f"{self.sha256}-"))
            removal = weakref.finalize(self, remove, self.mirror.root, os.getpid())
            removal.atexit = False  # the private directory is then removed as a whole
            self._hashes: dict[Path, str] = {}
            self.path = self._put(temporary, original.parent.resolve() / original.name, self.sha256)
        finally:
            temporary.unlink(missing_ok=True)
        self.dependencies: list[Dependency] = []
        for _ in brought_along(self.info, self._add):
            pass
        lines = [self.sha256, *sorted(f"{each.identity} {each.path}" for each in self.dependencies)]
        self.digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def look(self) -> list[tuple[int, ...] | None]:
        """Returns what changes with each copy."""
        return [_look(copy) for copy in self._hashes]

    def unchanged(self) -> bool:
        """Returns whether all copies still have their content."""
        return all(_sha256(copy) == sha256 for copy, sha256 in self._hashes.items())

    def _add(self, found: Found) -> LibraryInfo | None:
        """Copies a library that this one brings along, unless a fixed path leads to it; returns its metadata."""
        try:
            if found.moves:
                temporary, identity, info = _copy(found.path)
                try:
                    self._put(temporary, found.path, identity)
                finally:
                    temporary.unlink(missing_ok=True)
            else:
                identity, info = str(_look(found.path)), inspect_library(found.path)
        except (NotALibraryError, PluginNotFound):
            return None  # the dynamic linker says so
        name = info.linkage.soname or found.path.name
        self.dependencies.append(Dependency(name, found.path, identity))
        return info

    def _put(self, temporary: Path, original: Path, sha256: str) -> Path:
        with writing():
            copy = self.mirror.place(original)
            temporary.replace(copy)
        self._hashes[copy] = sha256
        return copy


def _copy(original: Path) -> tuple[Path, str, LibraryInfo]:
    """Copies a library to a temporary file; returns it with the hash and the metadata of the copy."""
    with open_file(original) as source:
        inspect_file(source, original)  # before copying what may be of any size
        with writing():
            handle, name = tempfile.mkstemp(dir=private_directory())
            temporary = Path(name)
            try:
                digest = hashlib.sha256()
                with os.fdopen(handle, "wb") as copy:
                    for chunk in _chunks(source, original):
                        digest.update(chunk)
                        copy.write(chunk)
                if sys.platform != "win32":  # Windows cannot delete a read-only file
                    temporary.chmod(0o500)
                with temporary.open("rb", buffering=0) as written:
                    info = inspect_file(written, original)
                    _check_executable(written)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            return temporary, digest.hexdigest(), info


def _chunks(file: FileIO, path: Path) -> Iterator[bytes]:
    try:
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk
    except OSError as error:
        raise cannot_read(path, error) from error


def _check_executable(file: FileIO) -> None:
    """Checks that the system maps the code of a file in the temporary directory."""
    if sys.platform == "linux":
        try:
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE).close()
        except PermissionError as error:
            raise PluginLoadError(
                f"cannot run code from the temporary directory {temporary_directory()}, which is probably mounted with "
                "noexec; set TMPDIR to another directory",
                path=temporary_directory(),
            ) from error


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
