"""Serves a project during development: each save triggers a build, and each new build is served.

The server runs in the main thread, as with ``backworks serve``. Another thread watches the files, builds, and then asks
the server for a reload. If a build fails, or the new plugin does not start, the previous build stays in service.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.authoring.building import CONFIG, Builder, find_project
from backworks.errors import BackworksError, BuildError, ConfigError, ToolNotFound
from backworks.loading.paths import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backworks.http.reloads import Reloads

__all__ = ["develop"]

#: Seconds between two scans of the files. A build starts when two successive scans are equal.
_POLL = 0.1
#: Directories of build output, or of code from others.
_NOT_SOURCES = frozenset({"build", "target", "zig-out", "node_modules", "venv", "__pycache__"})
#: Suffixes of build output, wherever it is, and of editor backups.
_NOT_SOURCE = (*SUFFIXES, ".o", ".obj", ".a", ".pyc", "~")

Stamps = dict[Path, tuple[int, ...]]


def develop(
    directory: Path,
    say: Callable[[str], object],
    announce: Callable[[str], None],
    *,
    host: str | None = None,
    port: int | None = None,
) -> None:
    """Builds a project, serves it, and watches its files until Ctrl-C or SIGTERM.

    Args:
        directory: The project's directory.
        say: Called with each event, as one line.
        announce: Called with one line when the server listens.
        host, port: Where to listen instead of the configured address.

    Raises:
        ToolNotFound: A tool is not installed at startup.
        BuildError: The directory does not contain a plugin project.
        ConfigError, ListenError, PluginLoadError, PluginError: See :func:`backworks.http.server.serve`.
    """
    from backworks.http.server import serve

    find_project(directory)
    work = _Work(directory.absolute(), say)
    try:
        work.until_built()
        config = find_project(directory).config
        serve(config, host, port, workers=1, follow=work.following, announce=announce)
    finally:
        work.stop()


class _Work:
    """The builds of one project, and the state of its files when the last build started."""

    def __init__(self, directory: Path, say: Callable[[str], object]) -> None:
        self._directory = directory
        self._say = say
        self._builder = Builder(directory, say)
        self._over = threading.Event()
        self._known: Stamps = {}

    def until_built(self) -> None:
        """Builds; after a failure, waits for a change and builds again."""
        self._known = _stamps(self._directory)
        while True:
            try:
                self._build()
            except ToolNotFound:
                raise
            except (BuildError, ConfigError) as error:
                self._complain(error, "waiting for a change to build again")
                self._wait()
            else:
                return

    def stop(self) -> None:
        self._over.set()
        self._builder.stop()

    @contextmanager
    def following(self, reloads: Reloads) -> Iterator[None]:
        """Requests a reload whenever there is a new build or configuration."""
        thread = threading.Thread(target=self._follow, args=(reloads,), name="backworks-dev", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    def _follow(self, reloads: Reloads) -> None:
        while (changed := self._wait()) is not None:
            try:
                built = self._build()
            except BackworksError as error:
                if not self._over.is_set():
                    self._complain(error, "the previous build stays in service")
                continue
            if built or self._directory / CONFIG in changed:
                reloads.ask()

    def _build(self) -> bool:
        built = self._builder.build()
        # Files that the build itself writes, such as a lock file, are not changes.
        self._known = _stamps(self._directory) | self._known
        if built.changed:
            self._say(f"built {os.path.relpath(built.library)} in {built.seconds:.1f} s")
        else:
            self._say(f"{os.path.relpath(built.library)} is up to date")
        return built.changed

    def _wait(self) -> set[Path] | None:
        """Waits until files have changed and settled; returns them, or ``None`` after :meth:`stop`."""
        last = self._known
        while not self._over.wait(_POLL):
            now = _stamps(self._directory)
            if now == last and now != self._known:
                changed = {path for path, _ in now.items() ^ self._known.items()}
                self._known = now
                self._say(f"changed: {', '.join(sorted(str(path.relative_to(self._directory)) for path in changed))}")
                return changed
            last = now
        return None

    def _complain(self, error: BackworksError, consequence: str) -> None:
        lines = error.errors if isinstance(error, ConfigError) else str(error).splitlines()
        for line in (*lines, consequence):
            self._say(line)


def _stamps(directory: Path) -> Stamps:
    """Returns inode, size and modification time of each file that may be a source."""
    found: Stamps = {}
    for current, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in _NOT_SOURCES and not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and not name.endswith(_NOT_SOURCE):
                with suppress(OSError):  # deleted in the meantime
                    status = os.stat(os.path.join(current, name))  # noqa: PTH116, PTH118  # ten times a second
                    found[Path(current, name)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
