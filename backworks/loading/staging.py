"""Private copies of libraries: the host opens exactly the bytes that it has verified.

A library that is overwritten while it is mapped crashes its host. One that is replaced between the check and ``dlopen``
bypasses the check. A path that has been opened once returns the old library from then on. The host therefore copies
each library into a directory that only this user can enter, under the SHA-256 of its content, and checks and opens only
that copy. A changed file gets a different path, so ``dlopen`` loads it again.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

__all__ = ["Staged", "private_directory", "stage", "stage_beside"]

_CHUNK = 1 << 20
_placing = threading.Lock()


class Staged(NamedTuple):
    """A private copy.

    Attributes:
        path: The copy: ``<private directory>/<sha256>/<name of the original>``.
        sha256: The hash of its content, in hexadecimal.
    """

    path: Path
    sha256: str


def stage(path: Path) -> Staged:
    """Copies a file into the private directory and hashes the bytes as it writes them.

    Raises:
        OSError: The file cannot be read, or the copy cannot be written.
    """
    directory = private_directory()
    handle, name = tempfile.mkstemp(dir=directory)
    temporary = Path(name)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as copy, path.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
        sha256 = digest.hexdigest()
        target = directory / sha256 / path.name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if sys.platform != "win32":  # Windows cannot delete a read-only file
            temporary.chmod(0o500)
        with _placing:
            if not target.exists():  # an existing file has the same content and may be mapped: keep it
                temporary.replace(target)
        return Staged(target, sha256)
    finally:
        temporary.unlink(missing_ok=True)


def stage_beside(staged: Staged, original: Path) -> Path:
    """Copies a dependency of a staged library beside it, where the dynamic linker finds it through ``$ORIGIN``.

    Raises:
        OSError: The file cannot be read, or the copy cannot be written.
    """
    copy = stage(original)
    target = staged.path.parent / original.name
    if not target.exists():
        try:
            target.hardlink_to(copy.path)
        except OSError:  # a file system without hard links
            shutil.copyfile(copy.path, target)
    return target


def private_directory() -> Path:
    """Returns a directory that only this user can enter and that is removed when this process ends."""
    with _placing:
        return _make_private_directory()


@functools.cache
def _make_private_directory() -> Path:
    parent = Path(tempfile.gettempdir())
    _sweep(parent)
    directory = _make(parent)
    atexit.register(_remove, directory, os.getpid())
    return directory


def _remove(directory: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the hook, but does not own the directory
        # Windows keeps an open library locked: the next process removes it.
        shutil.rmtree(directory, ignore_errors=True)


#: Marks a directory as created here, so that no other directory named backworks-* is removed.
_MARK = "backworks.lock"

if sys.platform == "win32":

    def _make(parent: Path) -> Path:
        """Creates the directory, with a file in it that cannot be removed while this process runs."""
        directory = Path(tempfile.mkdtemp(prefix="backworks-", dir=parent))
        os.open(directory / _MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY)  # stays open until the process ends
        return directory

    def _sweep(parent: Path) -> None:
        """Removes the directories of ended processes, which could not delete the libraries they had open."""
        for directory in parent.glob("backworks-*"):
            with contextlib.suppress(OSError):  # in use, owned by another user, or being removed by another process
                (directory / _MARK).unlink()
                try:
                    shutil.rmtree(directory)
                except OSError:  # a worker that is still ending has it open: a later process removes it
                    (directory / _MARK).touch()
                    raise

else:
    import fcntl

    def _make(parent: Path) -> Path:
        """Creates the directory, locked until the process ends; the lock also makes systemd-tmpfiles keep it."""
        new = Path(tempfile.mkdtemp(prefix=".backworks-", dir=parent))
        (new / _MARK).touch()
        fcntl.flock(os.open(new, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)
        return new.rename(new.with_name(new.name[1:]))  # from here on, _sweep() removes it unless it is locked

    def _sweep(parent: Path) -> None:
        """Removes the directories of processes that were killed and could not remove them."""
        for directory in parent.glob("backworks-*"):
            with contextlib.suppress(OSError):  # locked, owned by another user, or being removed by another process
                handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    if os.fstat(handle).st_uid == os.geteuid() and (directory / _MARK).exists():
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(directory)
                finally:
                    os.close(handle)
