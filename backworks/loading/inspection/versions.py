"""Reads the symbol versions of an ELF file (Linux Standard Base, "Symbol Versioning")."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from backworks.loading.inspection.reader import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backworks.loading.inspection.reader import Names, View

__all__ = ["defined", "needed"]

#: More versions than any library has. The lists are linked by offsets, so that a small table can contain a long one.
_MAX_VERSIONS = 4096

_WEAK = 2


def needed(view: View, order: str, names: Names) -> frozenset[tuple[str, str]]:
    """Returns pairs of a library and a version that it must define, without weak ones. Raises :exc:`Damaged`."""
    entry, version = Struct(order + "2xHIII"), Struct(order + "4xH2xII")
    found: list[tuple[str, str]] = []
    for at, (count, file_at, first, _) in _linked(view, entry, 0, view.size):
        file = names.at(file_at)
        for _, (flags, name_at, _) in _linked(view, version, at + first, count):
            if not flags & _WEAK:
                found.append((file, names.at(name_at)))
            if len(found) > _MAX_VERSIONS:
                raise Damaged(f"the table of needed versions has more than {_MAX_VERSIONS} entries")
    return frozenset(found)


def defined(view: View, order: str, names: Names) -> frozenset[str]:
    """Returns the versions that the library defines. Raises :exc:`Damaged`."""
    entry, name = Struct(order + "12xII"), Struct(order + "I4x")
    places = [at + first for at, (first, _) in _linked(view, entry, 0, view.size)]
    return frozenset(names.at(*view.unpack(name, place, "a version")) for place in places)


def _linked(view: View, layout: Struct, at: int, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yields the offset and fields of linked structures, the last field of which is the distance to the next."""
    for number in range(count):
        if number >= _MAX_VERSIONS:
            raise Damaged(f"a table of versions has more than {_MAX_VERSIONS} entries")
        fields = view.unpack(layout, at, "a version")
        yield at, fields
        if not fields[-1]:
            return
        at += fields[-1]
