"""Predicts whether the dynamic linker of this Linux can load a library, by reading the files that it would use.

Only certain problems are reported: none if a file cannot be found, or if the dynamic linker may use another one.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.errors import LinkError, PluginLoadError
from backworks.loading.dependencies import brought_along, candidates
from backworks.loading.inspection import inspect_library, this_machine, this_system
from backworks.loading.linked import mapped_libraries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backworks.loading.dependencies import Found
    from backworks.loading.inspection import LibraryInfo

__all__ = ["link_problems"]

#: How many symbols a message lists.
_SHOWN = 5


def link_problems(info: LibraryInfo) -> list[LinkError]:
    """Returns the reasons why the dynamic linker of this host cannot load a library, as far as they are certain.

    Args:
        info: The library.
    """
    if not _is_for(info, this_system(), this_machine()) or sys.platform != "linux":
        return []
    libraries = [info, *filter(None, (_read(found.path) for found in brought_along(info, _read_found)))]
    found = [
        text
        for library in libraries
        for text in (*_missing_versions(library, libraries), *_missing_symbols(library, libraries))
    ]
    name = info.manifest["name"] if info.manifest else None
    return [
        LinkError(f"{info.path}: the dynamic linker cannot load it: {text}", path=info.path, plugin=name)
        for text in dict.fromkeys(found)
    ]


def _missing_versions(info: LibraryInfo, libraries: list[LibraryInfo]) -> Iterator[str]:
    for name, version in sorted(info.linkage.needed_versions):
        others = _files(name, libraries)
        if others and all(other.linkage.versions and version not in other.linkage.versions for other in others):
            yield (
                f"{info.path.name} needs {version} of {name}, which {others[0].path} does not have; build it on a "
                "system that is as old as this one, or update this one"
            )


def _missing_symbols(info: LibraryInfo, libraries: list[LibraryInfo]) -> Iterator[str]:
    missing = set(info.linkage.undefined - info.exports)
    if not missing:
        return
    seen: set[str] = set()
    waiting = [(info, name) for name in info.needed]
    for library, name in waiting:
        if name not in seen:
            seen.add(name)
            others = _files(name, [library, *libraries])
            if not others:
                return  # undecided: the library may be in a place that only the dynamic linker knows
            missing -= {symbol for other in others for symbol in other.exports}
            if not missing:
                return
            waiting += [(other, needed) for other in others for needed in other.needed]
    program = ctypes.CDLL(None)
    names = sorted(name for name in missing if not hasattr(program, name))
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield (
            f"{info.path.name} uses {', '.join(names[:_SHOWN])}{more}, which no library that it is linked to exports; "
            "link it to the library that does"
        )


def _files(name: str, libraries: list[LibraryInfo]) -> list[LibraryInfo]:
    """Returns all libraries that the dynamic linker may use for a name in one of the libraries."""
    # RPATH, unlike RUNPATH, is searched for the libraries that are needed indirectly, too; that of Python leads to its
    # own libraries.
    places = [found.path for library in libraries for found in candidates(library, name)]
    places += [Path(prefix, "lib", name) for prefix in (sys.prefix, sys.base_prefix)]
    places += [directory / name for directory in _system_directories()]
    places += [path for path in mapped_libraries() if path.name == name]
    system, machine = this_system(), this_machine()
    found = {place.resolve(): _read(place) for place in places if place.is_file()}
    return [other for other in found.values() if other is not None and _is_for(other, system, machine)]


def _is_for(info: LibraryInfo, system: str, machine: str) -> bool:
    return info.format == "elf" and info.bits == 64 and info.system == system and machine in info.architectures


def _read_found(found: Found) -> LibraryInfo | None:
    return _read(found.path)


def _read(path: Path) -> LibraryInfo | None:
    try:
        status = path.stat()
        return _read_once(path, status.st_ino, status.st_size, status.st_mtime_ns)
    except (OSError, PluginLoadError):
        return None


@functools.lru_cache(maxsize=64)
def _read_once(path: Path, *_status: int) -> LibraryInfo:
    return inspect_library(path)


@functools.cache
def _system_directories() -> tuple[Path, ...]:
    usual = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{this_machine()}-linux-gnu"
    places = [*_configured("/etc/ld.so.conf"), *(f"{place}/{triplet}" for place in usual), *usual]
    return tuple(Path(place) for place in dict.fromkeys(places))


def _configured(file: str, depth: int = 4) -> Iterator[str]:
    """Yields the directories in a configuration file of ldconfig."""
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"] and depth:
            for pattern in words[1:]:
                for included in sorted(glob.glob(pattern, root_dir=Path(file).parent)):  # noqa: PTH207  # may be absolute
                    yield from _configured(str(Path(file).parent / included), depth - 1)
        elif words and words[0].startswith("/"):
            yield words[0]
