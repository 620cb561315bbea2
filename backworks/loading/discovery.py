"""Finds plugins in directories, by reading their files. Nothing of them is loaded."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.errors import PluginLoadError
from backworks.loading.inspection import LibraryInfo, inspect_library, problems
from backworks.loading.paths import SUFFIXES, plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DiscoveredPlugin", "PluginDiscovery"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiscoveredPlugin:
    """A file that is a plugin, or should be one.

    Attributes:
        name: The plugin's name, from the manifest; without one, the file's name without ``lib`` and its
        ending.
        version: The plugin's version, or ``None`` without a manifest.
        description: The manifest's description, or ``None``.
        path: The file, absolute.
        info: What the file says about itself, or ``None`` if it cannot be read as a library.
        problems: Every known reason why it will not load on this host.
    """

    name: str
    version: str | None
    description: str | None
    path: Path
    info: LibraryInfo | None
    problems: tuple[PluginLoadError, ...] = ()

    @property
    def loadable(self) -> bool:
        """Whether no reason is known why it would not load here."""
        return not self.problems

    @property
    def note(self) -> str | None:
        """What a person should know about an entry that has no manifest to be listed by, or ``None``."""
        if self.info is None or self.info.manifest is not None or self.info.manifest_problem is not None:
            return None
        return "it has no manifest: the name is the file's, and the version is unknown until it is loaded"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> DiscoveredPlugin:
        """Reads a file, whatever it is: what is wrong with it is listed, not raised."""
        absolute = Path(path).absolute()
        name = plain_name(absolute)
        try:
            info = inspect_library(absolute)
        except PluginLoadError as error:
            return cls(name, None, None, absolute, None, (error,))
        manifest = info.manifest or {}
        return cls(
            manifest.get("name", name),
            manifest.get("version"),
            manifest.get("description"),
            absolute,
            info,
            tuple(problems(info)),
        )


class PluginDiscovery:
    """Finds the plugins in some directories.

    Args:
        directories: Where to look, the most important first.
        recursive: Whether to look into the directories inside of them as well.
    """

    def __init__(self, directories: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> None:
        self.directories = tuple(Path(directory).absolute() for directory in directories)
        self.recursive = recursive

    def scan(self) -> tuple[DiscoveredPlugin, ...]:
        """Reads every library there is now and returns the plugins among them.

        A file is looked at if it ends in ``.so``, ``.dylib`` or ``.dll`` and is not hidden, each once,
        whichever ways lead to it. Plugins come in the order of the directories and, in each, of the files'
        names. A file that is broken, for another system or unreadable is among them, with its problems. A
        library that has nothing of a plugin is left out. A directory that cannot be read is a warning in the
        log.
        """
        found = []
        for path in self._files():
            plugin = DiscoveredPlugin.from_file(path)
            if _has_nothing_of_a_plugin(plugin):
                _log.debug("%s: left out: a library, but nothing of a plugin", path)
            else:
                found.append(plugin)
        return tuple(found)

    def _files(self) -> Iterator[Path]:
        # By their real paths: links may lead anywhere, also in circles.
        seen_directories: set[str] = set()
        seen_files: set[str] = set()
        for directory in self.directories:
            todo = [directory]
            while todo:
                current = todo.pop()
                real = os.path.realpath(current)
                if real in seen_directories:
                    continue
                seen_directories.add(real)
                entries = _visible(current)
                for entry in entries:
                    if entry.name.lower().endswith(SUFFIXES) and not _is_directory(entry):
                        target = os.path.realpath(entry) if entry.is_symlink() else f"{real}{os.sep}{entry.name}"
                        if target not in seen_files:
                            seen_files.add(target)
                            yield current / entry.name
                if self.recursive:
                    todo += [current / entry.name for entry in reversed(entries) if _is_directory(entry)]


def _visible(directory: Path) -> list[os.DirEntry[str]]:
    """Returns what is in a directory and not hidden, sorted by name."""
    try:
        with os.scandir(directory) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        _log.warning("%s: no plugins are found there: %s", directory, error.strerror or error)
        return []
    return sorted(visible, key=lambda entry: entry.name)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, or into where nobody may look


def _has_nothing_of_a_plugin(plugin: DiscoveredPlugin) -> bool:
    info = plugin.info
    return (
        info is not None
        and info.bits == 64  # of others the symbols are not read
        and info.manifest is None
        and info.manifest_problem is None
        and not any(name.startswith("backworks_plugin_") for name in info.exports)
    )
