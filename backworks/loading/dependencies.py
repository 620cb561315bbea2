"""Finds the libraries that a plugin brings along, where the dynamic linker finds them, by reading files only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backworks.loading.inspection import LibraryInfo

__all__ = ["Found", "brought_along", "candidates"]

#: What stands for the directory of the library that contains it.
_OWN = re.compile(r"\$ORIGIN\b|\$\{ORIGIN\}|@loader_path\b")


class Found(NamedTuple):
    """A library that another one needs.

    Attributes:
        name: The name by which it is needed.
        path: The file; the path of its directory contains no links.
        moves: Whether it is found by the directory of the library that needs it, and not by a fixed path.
    """

    name: str
    path: Path
    moves: bool


#: Directories to search, each with whether it is relative to the library's own.
_Searched = tuple[tuple[Path, bool], ...]


def brought_along(info: LibraryInfo, read: Callable[[Found], LibraryInfo | None]) -> Iterator[Found]:
    """Yields the libraries that a library needs, directly or indirectly, and does not leave to the system.

    Args:
        info: The library.
        read: Returns the metadata of a library that it needs, or ``None`` to ignore those that this one needs.
    """
    seen = {_real(info.path)}
    waiting: list[tuple[LibraryInfo, _Searched]] = [(info, ())]
    for each, inherited in waiting:
        for name in each.needed:
            found = next((found for found in candidates(each, name, inherited) if found.path.is_file()), None)
            if found is None or found.path in seen:
                continue
            seen.add(found.path)
            yield found
            if (other := read(found)) is not None:
                waiting.append((other, (*_searched(each), *inherited) if each.linkage.inherited else inherited))


def candidates(info: LibraryInfo, name: str, inherited: _Searched = ()) -> Iterator[Found]:
    """Yields the places where a library may find another one, apart from the system's directories.

    Args:
        info: The library that needs the other.
        name: The name by which it needs it.
        inherited: What the libraries that need this one search for it as well.
    """
    own = info.path.parent
    if "/" in name and not name.startswith("@rpath/"):
        if (path := _expanded(name, own)) is not None:
            yield Found(name, _real(path), moves=_OWN.search(name) is not None)
    else:
        for directory, moves in (*_searched(info), *inherited):
            yield Found(name, _real(directory / name.removeprefix("@rpath/")), moves)
    if info.format == "elf":
        for text in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
            if text and "/" not in name:
                yield Found(name, _real(Path(text) / name), moves=False)
    else:  # Windows looks beside the library, as does macOS for one of a name that does not begin with a slash
        yield Found(name, _real(own / re.split(r"[/\\]", name)[-1]), moves=True)


def _searched(info: LibraryInfo) -> _Searched:
    places = ((_expanded(text, info.path.parent), _OWN.search(text) is not None) for text in info.linkage.search)
    return tuple((directory, moves) for directory, moves in places if directory is not None)


def _expanded(written: str, own: Path) -> Path | None:
    """Returns a path with the directory of its library filled in, or ``None`` if it is still not absolute."""
    if "$" in _OWN.sub("", written):  # $LIB and $PLATFORM, which only the dynamic linker knows
        return None
    path = Path(_OWN.sub(lambda _: str(own), written))
    return path if path.is_absolute() else None


def _real(path: Path) -> Path:
    """Returns the path with all links in its directory resolved."""
    return path.parent.resolve() / path.name
