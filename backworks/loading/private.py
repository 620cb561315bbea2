"""The private directory of this process: made when it is needed, kept from others, and removed at the end."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.errors import PluginLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["new_directory", "private_directory", "remove", "temporary_directory", "writing"]

_making = threading.Lock()
_made: list[Path] = []


def private_directory() -> Path:
    """Returns a directory that only this user can enter and that is removed when this process ends.

    Raises:
        PluginLoadError: It cannot be created.
    """
    with _making:
        if not _made or not _is_ours(_made[-1]):  # what cleans the temporary directory may have removed it
            with writing():
                _made.append(_create())
        return _made[-1]


def new_directory(prefix: str = "") -> Path:
    """Creates a directory in the private one.

    Raises:
        PluginLoadError: It cannot be created.
    """
    parent = private_directory()
    with writing():
        return Path(tempfile.mkdtemp(dir=parent, prefix=prefix))


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turns an error of writing below the temporary directory into one that names it and says what to do.

    Raises:
        PluginLoadError: Instead of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        directory = temporary_directory()
        raise PluginLoadError(
            f"cannot write to the temporary directory {directory}: {error.strerror or error}; make it writable or free "
            "some space, or set TMPDIR (on Windows TEMP) to another directory",
            path=directory,
        ) from error


def temporary_directory() -> str:
    """Returns the system's directory for temporary files, or the preferred one if none is usable."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp"  # noqa: S108  # for a message


def _is_ours(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    return sys.platform == "win32" or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)


def _create() -> Path:
    parent = Path(tempfile.gettempdir())
    _sweep(parent)
    directory = _make(parent)
    atexit.register(remove, directory, os.getpid())
    return directory


def remove(directory: Path, owner: int) -> None:
    """Removes a directory, if this process is the one with the number ``owner``."""
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
