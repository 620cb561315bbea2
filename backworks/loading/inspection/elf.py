"""Reads ELF, the format of Linux and most other systems (System V ABI, chapters 4 and 5)."""

from __future__ import annotations

from struct import Struct
from typing import Any

from backworks.loading.inspection.manifest import MAX_SECTION
from backworks.loading.inspection.reader import Damaged, Image, Names, View

__all__ = ["MAGIC", "read"]

MAGIC = b"\x7fELF"
_SECTION = ".bworks"

_SYSTEMS = {0: "linux", 2: "netbsd", 3: "linux", 6: "solaris", 9: "freebsd", 12: "openbsd"}
_KINDS = {1: "object file", 2: "executable", 3: "shared library", 4: "core dump"}
_MACHINES = {
    3: "x86",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}
#: Names that depend on the word size and byte order as well as the machine number.
_VARIANTS = {
    ("riscv", 64, "<"): "riscv64",
    ("riscv", 32, "<"): "riscv32",
    ("loongarch", 64, "<"): "loongarch64",
    ("ppc64", 64, "<"): "ppc64le",
    ("mips", 64, "<"): "mips64el",
    ("mips", 64, ">"): "mips64",
    ("aarch64", 64, ">"): "aarch64_be",
}

_PT_LOAD = 1
_SHT_DYNAMIC, _SHT_NOBITS, _SHT_DYNSYM = 6, 8, 11
_DT_NULL, _DT_NEEDED, _DT_FLAGS_1 = 0, 1, 0x6FFFFFFB
_DF_1_PIE = 0x08000000
_EXPORTED_BINDINGS = {1, 2, 10}  # STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE
_EXPORTED_VISIBILITIES = {0, 3}  # STV_DEFAULT, STV_PROTECTED
_NAMELESS_TYPES = {3, 4}  # STT_SECTION, STT_FILE


def read(view: View) -> Image:
    """Reads an ELF file; only the header of a 32-bit one. Raises :exc:`Damaged`."""
    ident = view.read(0, 16, "the header")
    if ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise Damaged(f"the header has an invalid class {ident[4]} or byte order {ident[5]}")
    bits, order = 32 * ident[4], "<>"[ident[5] - 1]
    kind_number, machine_number = view.unpack(Struct(order + "HH"), 16, "the header")
    machine = _MACHINES.get(machine_number, f"machine {machine_number}")
    architecture = _VARIANTS.get((machine, bits, order), machine)
    system = _SYSTEMS.get(ident[7], f"OSABI {ident[7]}")
    kind = _KINDS.get(kind_number, f"file of type {kind_number}")
    if bits == 32:
        return Image("elf", system, (architecture,), bits, kind)

    sections = _sections(view, order)
    exports: set[str] | None = None
    needed: list[str] | None = None
    manifest = None
    for name, section in sections:
        kind_of_section, offset, size, link = section
        # The standard allows one of each. Reading only the first prevents a crafted file from taking hours.
        if kind_of_section == _SHT_DYNSYM and exports is None:
            exports = _exports(view, order, offset, size, _names(view, sections, link))
        elif kind_of_section == _SHT_DYNAMIC and needed is None:
            needed, flags = _dynamic(view, order, offset, size, _names(view, sections, link))
            if flags & _DF_1_PIE:
                kind = "executable"
        elif name == _SECTION and manifest is None and kind_of_section != _SHT_NOBITS:
            view.check(offset, size, f"section {_SECTION}")
            manifest = view.read(offset, min(size, MAX_SECTION), f"section {_SECTION}")
    return Image(
        "elf",
        system,
        (architecture,),
        bits,
        kind,
        frozenset(exports or ()),
        tuple(needed or ()),
        manifest,
        big_endian=order == ">",
    )


_Section = tuple[int, int, int, int]


def _sections(view: View, order: str) -> list[tuple[str, _Section]]:
    """Returns the name of each section, with its type, offset, size and link."""
    header = view.unpack(Struct(order + "HHIQQQIHHHHHH"), 16, "the header")
    segments_at, sections_at = header[4], header[5]
    segment_size, segment_count, section_size, section_count, names_index = header[8:13]
    if segment_count and segment_size != 56:
        raise Damaged(f"the segment table has entries of {segment_size} bytes, not 56")
    for segment in view.table(Struct(order + "IIQQQQQQ"), segments_at, segment_count, "the segment table"):
        # Accessing a mapping beyond the end of the file kills the process.
        if segment[0] == _PT_LOAD:
            view.check(segment[2], segment[5], "a segment")
    if not sections_at or not section_count:
        raise Damaged("no section table: build the library without stripping it, to keep its symbols and manifest")
    if section_size != 64:
        raise Damaged(f"the section table has entries of {section_size} bytes, not 64")
    table = list(view.table(Struct(order + "IIQQQQIIQQ"), sections_at, section_count, "the section table"))
    sections = [(row[1], row[4], row[5], row[6]) for row in table]
    names = _names(view, [("", section) for section in sections], names_index)
    return [(names.at(row[0]), section) for row, section in zip(table, sections, strict=True)]


def _names(view: View, sections: list[tuple[str, _Section]], index: int) -> Names:
    if index >= len(sections):
        raise Damaged(f"invalid link to section {index} of {len(sections)}")
    _, offset, size, _ = sections[index][1]
    return Names(view.read(offset, size, "a string table"))


def _exports(view: View, order: str, offset: int, size: int, names: Names) -> set[str]:
    layout = Struct(order + "IBBHQQ")
    found: set[str] = set()
    seen: set[int] = set()
    rows: Any = view.table(layout, offset, size // layout.size, "the table of dynamic symbols")
    for name_at, info, other, section, _, _ in rows:
        if (
            section != 0
            and name_at not in seen  # a name may occur in several versions
            and info >> 4 in _EXPORTED_BINDINGS
            and info & 15 not in _NAMELESS_TYPES
            and other & 3 in _EXPORTED_VISIBILITIES
        ):
            seen.add(name_at)
            found.add(names.at(name_at))
    return found


def _dynamic(view: View, order: str, offset: int, size: int, names: Names) -> tuple[list[str], int]:
    """Returns the needed libraries, and DT_FLAGS_1."""
    layout = Struct(order + "QQ")
    needed, flags = [], 0
    for tag, value in view.table(layout, offset, size // layout.size, "the dynamic section"):
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            needed.append(names.at(value))
        elif tag == _DT_FLAGS_1:
            flags = value
    return needed, flags
