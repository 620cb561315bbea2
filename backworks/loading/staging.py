"""Private copies of libraries: what is verified is what is opened.

A library that is replaced on disk while it is mapped crashes its host, one that is replaced between a check and the
``dlopen`` slips past the check, and a path that was opened once gives the old library for ever. So each library is
copied into a directory that only this user can enter, under the SHA-256 of its bytes, and only that copy is looked at
and opened. A changed file has another name, so that it is loaded anew.
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
        path: Where it is: ``<private directory>/<sha256>/<name of the original>``.
        sha256: The hash of its bytes, in hexadecimal.
    """

    path: Path
    sha256: str


def stage(path: Path) -> Staged:
    """Copies a file into the private directory, hashing the very bytes that it writes.

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
        if sys.platform != "win32":  # there it would be read-only, which is a file that cannot be removed
            temporary.chmod(0o500)
        with _placing:
            if not target.exists():  # else it has the same bytes and is perhaps mapped: keep that file
                temporary.replace(target)
        return Staged(target, sha256)
    finally:
        temporary.unlink(missing_ok=True)


def stage_beside(staged: Staged, original: Path) -> Path:
    """Copies a library that a staged one needs to its side, where the dynamic linker looks for ``$ORIGIN``.

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
    """Finds the directory that only this user can enter, and that is removed when this process ends."""
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
    if os.getpid() == owner:  # a forked child has the same hook and no right to the directory
        # Windows keeps an open library locked: the next process sweeps it up.
        shutil.rmtree(directory, ignore_errors=True)


#: What says that a directory was made here, so that nothing else that is called backworks-something is swept away.
_MARK = "backworks.lock"

if sys.platform == "win32":

    def _make(parent: Path) -> Path:
        """Makes the directory, with a file in it that nobody can remove while this process lives."""
        directory = Path(tempfile.mkdtemp(prefix="backworks-", dir=parent))
        os.open(directory / _MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY)  # until the process ends, however it ends
        return directory

    def _sweep(parent: Path) -> None:
        """Removes the directories of processes that have ended, which could not remove what they had open."""
        for directory in parent.glob("backworks-*"):
            with contextlib.suppress(OSError):  # its process lives, it is another's, or being swept by somebody else
                (directory / _MARK).unlink()
                try:
                    shutil.rmtree(directory)
                except OSError:  # a worker that is just ending has it open: the next one
                    (directory / _MARK).touch()
                    raise

else:
    import fcntl

    def _make(parent: Path) -> Path:
        """Makes the directory, under a lock until the process ends; it also keeps systemd-tmpfiles from cleaning up."""
        new = Path(tempfile.mkdtemp(prefix=".backworks-", dir=parent))
        (new / _MARK).touch()
        fcntl.flock(os.open(new, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)
        return new.rename(new.with_name(new.name[1:]))  # from here on it is swept if nobody holds the lock

    def _sweep(parent: Path) -> None:
        """Removes the directories of processes that were killed and so could not do it themselves."""
        for directory in parent.glob("backworks-*"):
            with contextlib.suppress(OSError):  # another's, locked by a living process, or swept by somebody else
                handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    if os.fstat(handle).st_uid == os.geteuid() and (directory / _MARK).exists():
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(directory)
                finally:
                    os.close(handle)
