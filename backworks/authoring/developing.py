"""Serves a project while it is written: what is saved is built, and what is built is served.

The server runs in the main thread, as with ``backworks serve``; the files are looked at by another thread, which builds
and then asks the server for a reload. What does not build, or does not start, changes nothing: the old one is served.
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

#: Seconds from one look at the files to the next. A file is built when it is the same in two looks.
_LOOK = 0.1
#: Directories that hold what is built, or what others have written.
_NOT_SOURCES = frozenset({"build", "target", "zig-out", "node_modules", "venv", "__pycache__"})
#: How files end that are built, wherever they are, or left by an editor.
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
    """Builds a project, serves it, and follows its files until Ctrl-C or SIGTERM.

    Args:
        directory: The project.
        say: Is given what happens, in lines.
        announce: Is given one line as soon as the server listens.
        host, port: Where to listen instead of where the configuration says.

    Raises:
        ToolNotFound: A tool is missing at the start.
        BuildError: It is not the directory of a plugin.
        ConfigError, ListenError, PluginLoadError, PluginError: As of :func:`backworks.http.server.serve`.
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
    """The builds of one project, and what its files were when the last of them began."""

    def __init__(self, directory: Path, say: Callable[[str], object]) -> None:
        self._directory = directory
        self._say = say
        self._builder = Builder(directory, say)
        self._over = threading.Event()
        self._known: Stamps = {}

    def until_built(self) -> None:
        """Builds, and where that fails, waits for a change and builds again."""
        self._known = _stamps(self._directory)
        while True:
            try:
                self._build()
            except ToolNotFound:
                raise
            except (BuildError, ConfigError) as error:
                self._complain(error, "it is built again when a file changes")
                self._wait()
            else:
                return

    def stop(self) -> None:
        self._over.set()
        self._builder.stop()

    @contextmanager
    def following(self, reloads: Reloads) -> Iterator[None]:
        """Asks for a reload whenever something else can be served."""
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
                    self._complain(error, "the old one is served on")
                continue
            if built or self._directory / CONFIG in changed:
                reloads.ask()

    def _build(self) -> bool:
        built = self._builder.build()
        # What the build itself has written is no change: a lock file, say.
        self._known = _stamps(self._directory) | self._known
        if built.changed:
            self._say(f"built {os.path.relpath(built.library)} in {built.seconds:.1f} s")
        else:
            self._say(f"nothing new in {os.path.relpath(built.library)}")
        return built.changed

    def _wait(self) -> set[Path] | None:
        """Waits until files have changed and rest; returns them, or ``None`` when it is over."""
        last = self._known
        while not self._over.wait(_LOOK):
            now = _stamps(self._directory)
            if now == last and now != self._known:
                changed = {path for path, _ in now.items() ^ self._known.items()}
                self._known = now
                self._say(f"changed: {', '.join(sorted(str(path.relative_to(self._directory)) for path in changed))}")
                return changed
            last = now
        return None

    def _complain(self, error: BackworksError, then: str) -> None:
        lines = error.errors if isinstance(error, ConfigError) else str(error).splitlines()
        for line in (*lines, then):
            self._say(line)


def _stamps(directory: Path) -> Stamps:
    """Returns what the system says of each file that may be a source: its size, and when it was changed."""
    found: Stamps = {}
    for current, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in _NOT_SOURCES and not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and not name.endswith(_NOT_SOURCE):
                with suppress(OSError):  # it has gone meanwhile
                    status = os.stat(os.path.join(current, name))  # noqa: PTH116, PTH118  # ten times a second
                    found[Path(current, name)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
