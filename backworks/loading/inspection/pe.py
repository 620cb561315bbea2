"""Reads PE, the format of Windows (Microsoft's "PE Format")."""

from __future__ import annotations

import bisect
from struct import Struct

from backworks.loading.inspection.manifest import MAX_SECTION
from backworks.loading.inspection.reader import Damaged, Image, Names, View

__all__ = ["MAGIC", "read"]

MAGIC = b"MZ"
_SECTION = b".bworks"

_MACHINES = {
    0x014C: "x86",
    0x01C4: "arm",
    0x8664: "x86_64",
    0xAA64: "aarch64",
    0xA641: "arm64ec",
    0x5064: "riscv64",
}
_PE32, _PE32_PLUS = 0x10B, 0x20B
_IMAGE_FILE_DLL = 0x2000
_EXPORTS, _IMPORTS = 0, 1

#: More libraries than any file links to.
_MAX_IMPORTS = 4096


def read(view: View) -> Image:
    """Reads a PE file; only the headers of a 32-bit one. Raises :exc:`Damaged`."""
    (header_at,) = view.unpack(Struct("<I"), 0x3C, "the DOS header")
    if view.read(header_at, 4, "the PE header") != b"PE\0\0":
        raise Damaged("no PE header: a DOS program, or an older Windows format")
    machine, section_count, optional_size, characteristics = view.unpack(
        Struct("<HH12xHH"), header_at + 4, "the PE header"
    )
    architectures = (_MACHINES.get(machine, f"machine 0x{machine:04x}"),)
    kind = "shared library" if characteristics & _IMAGE_FILE_DLL else "executable"
    optional_at = header_at + 24
    optional = view.read(optional_at, optional_size, "the optional header")
    magic = int.from_bytes(optional[:2], "little")
    if magic == _PE32:
        return Image("pe", "windows", architectures, 32, kind)
    if magic != _PE32_PLUS or optional_size < 112:
        raise Damaged(f"invalid optional header of type 0x{magic:x} and {optional_size} bytes")

    sections = _Sections(view, optional_at + optional_size, section_count)
    # The header states a number of directories, but its size limits them.
    stated = int.from_bytes(optional[108:112], "little")
    present = min(stated, (optional_size - 112) // 8)
    directories = [rva for rva, _ in Struct("<II").iter_unpack(optional[112 : 112 + 8 * present])]
    exports_at = directories[_EXPORTS] if len(directories) > _EXPORTS else 0
    imports_at = directories[_IMPORTS] if len(directories) > _IMPORTS else 0
    return Image(
        "pe",
        "windows",
        architectures,
        64,
        kind,
        _exports(sections, exports_at) if exports_at else frozenset(),
        _imports(sections, imports_at) if imports_at else (),
        sections.start_of(_SECTION),
    )


class _Sections:
    """The sections of a file, which map addresses in memory to offsets in the file."""

    def __init__(self, view: View, offset: int, count: int) -> None:
        self._view = view
        self._rows: list[tuple[int, int, int, bytes]] = []
        for row in view.table(Struct("<8sIIII16x"), offset, count, "the section table"):
            name, _, address, size, start = row
            name = name.rstrip(b"\0")
            view.check(start, size, f"section {name.decode('ascii', 'backslashreplace')}")
            self._rows.append((address, size, start, name))
        self._rows.sort()
        # Without overlaps, the size of the file limits how much is read.
        if sum(size for _, size, _, _ in self._rows) > view.size:
            raise Damaged("the sections overlap")
        self._loaded: dict[int, tuple[View, Names]] = {}

    def start_of(self, wanted: bytes) -> bytes | None:
        """Returns the start of the section with a name."""
        for _, size, start, name in self._rows:
            if name == wanted:
                return self._view.read(start, min(size, MAX_SECTION), "section .bworks")
        return None

    def find(self, address: int) -> tuple[View, Names, int]:
        """Returns the section that contains an address, its names, and the offset in both."""
        index = bisect.bisect_right(self._rows, address, key=lambda row: row[0]) - 1
        base, size, start, _ = self._rows[index] if index >= 0 else (0, 0, 0, b"")
        if not base <= address < base + size:
            raise Damaged(f"address 0x{address:x} is outside all sections")
        if index not in self._loaded:
            part = self._view.part(start, size, "a section")
            self._loaded[index] = part, Names(part.read(0, size, "a section"))
        return *self._loaded[index], address - base

    def name_at(self, address: int) -> str:
        """Returns the NUL-terminated name at an address."""
        _, names, offset = self.find(address)
        return names.at(offset)


def _exports(sections: _Sections, address: int) -> frozenset[str]:
    part, _, offset = sections.find(address)
    count, _, names_at = part.unpack(Struct("<24xIII4x"), offset, "the export table")
    if not count:
        return frozenset()
    part, _, offset = sections.find(names_at)
    addresses = {row[0] for row in part.table(Struct("<I"), offset, count, "the table of exported names")}
    return frozenset(sections.name_at(name) for name in addresses)


def _imports(sections: _Sections, address: int) -> tuple[str, ...]:
    """Returns the libraries in the import table, which ends with an entry without a name."""
    part, _, offset = sections.find(address)
    layout = Struct("<12xI4x")
    needed: list[str] = []
    present = min((part.size - offset) // layout.size, _MAX_IMPORTS)
    for (name_at,) in part.table(layout, offset, present, "the import table"):
        if not name_at:
            return tuple(needed)
        needed.append(sections.name_at(name_at))
    raise Damaged(f"the import table does not end after {present} entries")
