"""Finds plugins in directories by reading their files, without loading them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.errors import PluginLoadError
from backworks.loading.inspection import LibraryInfo, inspect_library, problems
from backworks.loading.linking import link_problems
from backworks.loading.paths import SUFFIXES, plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DiscoveredPlugin", "PluginDiscovery"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiscoveredPlugin:
    """A file that is, or appears to be, a plugin.

    Attributes:
        name: The plugin's name from its manifest; without a manifest, the file's name without ``lib`` and suffix.
        version: The plugin's version, or ``None`` without a manifest.
        description: The manifest's description, or ``None``.
        path: The absolute path of the file.
        info: The file's metadata, or ``None`` if it cannot be read as a library.
        problems: All known reasons why this host cannot load it.
    """

    name: str
    version: str | None
    description: str | None
    path: Path
    info: LibraryInfo | None
    problems: tuple[PluginLoadError, ...] = ()

    @property
    def loadable(self) -> bool:
        """Whether this host can load it, as far as its file shows."""
        return not self.problems

    @property
    def note(self) -> str | None:
        """A remark for the user about a file without a manifest, or ``None``."""
        if self.info is None or self.info.manifest is not None or self.info.manifest_problem is not None:
            return None
        return "no manifest: the name comes from the file, and the version is unknown until the plugin is loaded"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> DiscoveredPlugin:
        """Reads any file; problems are listed, not raised."""
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
            tuple(problems(info) or link_problems(info)),
        )


class PluginDiscovery:
    """Finds the plugins in directories.

    Args:
        directories: The directories to search, in order of precedence.
        recursive: Whether to search subdirectories as well.
    """

    def __init__(self, directories: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> None:
        self.directories = tuple(Path(directory).absolute() for directory in directories)
        self.recursive = recursive

    def scan(self) -> tuple[DiscoveredPlugin, ...]:
        """Reads all libraries in the directories and returns the plugins among them.

        A library is a file whose name ends in ``.so``, ``.dylib`` or ``.dll`` and that is not hidden. Each file is read
        once, even if several links lead to it. Plugins are sorted by directory, in the given order, and then by file
        name. The result includes files that are broken, unreadable or for another system, with their problems. It does
        not include libraries without any sign of a plugin. A directory that cannot be read logs a warning.
        """
        found = []
        for path in self._files():
            plugin = DiscoveredPlugin.from_file(path)
            if _has_nothing_of_a_plugin(plugin):
                _log.debug("%s: skipped: the library is not a plugin", path)
            else:
                found.append(plugin)
        return tuple(found)

    def _files(self) -> Iterator[Path]:
        # Compares real paths, because links may form a cycle.
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
    """Returns the entries of a directory that are not hidden, sorted by name."""
    try:
        with os.scandir(directory) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        _log.warning("%s: cannot search the directory for plugins: %s", directory, error.strerror or error)
        return []
    return sorted(visible, key=lambda entry: entry.name)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, or to a directory without permission


def _has_nothing_of_a_plugin(plugin: DiscoveredPlugin) -> bool:
    info = plugin.info
    return (
        info is not None
        and info.bits == 64  # the symbols of other files are not read
        and info.manifest is None
        and info.manifest_problem is None
        and not any(name.startswith("backworks_plugin_") for name in info.exports)
    )
