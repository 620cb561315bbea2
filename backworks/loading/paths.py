"""Finds a plugin's file from the path or stem that the user gives."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from backworks.errors import PluginNotFound

__all__ = ["SUFFIXES", "library_name", "plain_name", "resolve_library"]

#: The suffixes of libraries on Linux and most other systems, on macOS, and on Windows.
SUFFIXES = (".so", ".dylib", ".dll")

# macOS's own suffix is .dylib, but modules for other programs often use .so there.
_SUFFIXES_HERE = {"win32": (".dll",), "darwin": (".dylib", ".so")}.get(sys.platform, (".so",))


def library_name(stem: str) -> str:
    """Returns a library's file name on this system: ``libweather.so``, ``libweather.dylib`` or ``weather.dll``."""
    return _filenames(stem, _SUFFIXES_HERE[0])[0]


def plain_name(path: Path) -> str:
    """Returns a library's name without prefix and suffix: ``weather`` for ``libweather.so``."""
    return path.stem.removeprefix("lib") or path.name


def resolve_library(path: str | Path) -> Path:
    """Returns the absolute path of a plugin's file.

    Args:
        path: The file, or its stem: ``plugins/weather`` for ``plugins/libweather.so``,
            ``plugins/libweather.dylib`` or ``plugins/weather.dll``, with or without ``lib``.

    Raises:
        PluginNotFound: The file does not exist. The message names the files that were tried, and files for other
            systems if there are any.
    """
    wanted = Path(path).absolute()
    if _is_file(wanted):
        return wanted
    if not wanted.name:
        raise PluginNotFound(f"{wanted}: is a directory; give the path of the library inside it", path=path)
    if _is_special(wanted):
        raise PluginNotFound(f"{wanted}: is not a regular file", path=path)
    candidates = [wanted.with_name(name) for suffix in _SUFFIXES_HERE for name in _filenames(wanted.name, suffix)]
    for candidate in candidates:
        if _is_file(candidate):
            return candidate
    raise PluginNotFound(_explain(wanted, candidates), path=path)


def _filenames(stem: str, suffix: str) -> tuple[str, str]:
    """Returns the two possible names of a library, the system's usual one first."""
    plain, prefixed = f"{stem}{suffix}", f"lib{stem}{suffix}"
    return (plain, prefixed) if suffix == ".dll" else (prefixed, plain)


def _explain(wanted: Path, candidates: list[Path]) -> str:
    if wanted.suffix in SUFFIXES:
        looked = "the file does not exist"
    else:
        looked = f"the file does not exist, nor does {' or '.join(path.name for path in candidates)} beside it"
    if _is_directory(wanted):
        looked = f"is a directory, and there is no {' or '.join(path.name for path in candidates)} beside it"
    stem = wanted.stem if wanted.suffix in SUFFIXES else wanted.name
    stems = {stem, stem.removeprefix("lib")}
    foreign = sorted(
        name
        for suffix in SUFFIXES
        if suffix not in _SUFFIXES_HERE
        for name in {name for each in stems for name in _filenames(each, suffix)}
        if _is_file(wanted.with_name(name))
    )
    if foreign:
        hint = f"; found {' and '.join(foreign)} for another system: build the plugin for this one"
    else:
        similar = _similar(wanted.parent, stem)
        hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return f"{wanted}: {looked}{hint}"


def _similar(directory: Path, stem: str) -> list[str]:
    """Returns the libraries in a directory with a similar name; cargo writes a crate's ``-`` as ``_``."""
    try:
        names = [path.name for path in directory.iterdir() if path.suffix in _SUFFIXES_HERE and path.is_file()]
    except (OSError, ValueError):
        return []
    plain = {_comparable(name.rpartition(".")[0]): name for name in sorted(names)}
    return [plain[match] for match in difflib.get_close_matches(_comparable(stem), plain, cutoff=0.8)]


def _comparable(stem: str) -> str:
    return stem.removeprefix("lib").replace("-", "_").lower()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # not accessible, or not a valid file name


def _is_special(path: Path) -> bool:
    """Returns whether a path leads to a pipe, a socket or a device."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
