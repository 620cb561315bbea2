"""Reads ELF, the format of Linux and most other systems (System V ABI, chapters 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Any

from backworks.loading.inspection import versions
from backworks.loading.inspection.manifest import MAX_SECTION
from backworks.loading.inspection.reader import Damaged, Image, Linkage, Names, View

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
_SHT_GNU_VERDEF, _SHT_GNU_VERNEED = 0x6FFFFFFD, 0x6FFFFFFE
_DT_NULL, _DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH, _DT_FLAGS_1 = 0, 1, 14, 15, 29, 0x6FFFFFFB
_DF_1_PIE = 0x08000000
_STB_GLOBAL = 1
_EXPORTED_BINDINGS = {_STB_GLOBAL, 2, 10}  # STB_WEAK, STB_GNU_UNIQUE
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
    # The standard allows one section of each type. Reading only the first prevents a crafted file from taking hours.
    first = {section[0]: section for _, section in reversed(sections)}

    def names(section: _Section) -> Names:
        return _names(view, sections, section[3])

    exports, linkage = frozenset[str](), Linkage()
    needed: tuple[str, ...] = ()
    if section := first.get(_SHT_DYNSYM):
        exports, undefined = _symbols(view, order, section, names(section))
        linkage = replace(linkage, undefined=undefined)
    if section := first.get(_SHT_DYNAMIC):
        tags = _dynamic(view, order, section, names(section))
        kind = "executable" if tags.flags & _DF_1_PIE else kind
        needed = tuple(tags.needed)
        search, inherited = tags.runpath or tags.rpath, not tags.runpath
        linkage = replace(linkage, soname=tags.soname, search=search, inherited=inherited)
    if section := first.get(_SHT_GNU_VERNEED):
        part = view.part(section[1], section[2], "the table of needed versions")
        linkage = replace(linkage, needed_versions=versions.needed(part, order, names(section)))
    if section := first.get(_SHT_GNU_VERDEF):
        part = view.part(section[1], section[2], "the table of defined versions")
        linkage = replace(linkage, versions=versions.defined(part, order, names(section)))
    return Image(
        "elf",
        system,
        (architecture,),
        bits,
        kind,
        exports,
        needed,
        _manifest(view, sections),
        big_endian=order == ">",
        linkage=linkage,
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


def _manifest(view: View, sections: list[tuple[str, _Section]]) -> bytes | None:
    for name, (kind, offset, size, _) in sections:
        if name == _SECTION and kind != _SHT_NOBITS:
            view.check(offset, size, f"section {_SECTION}")
            return view.read(offset, min(size, MAX_SECTION), f"section {_SECTION}")
    return None


def _symbols(view: View, order: str, section: _Section, names: Names) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the exported names, and the undefined ones that are not weak."""
    layout = Struct(order + "IBBHQQ")
    _, offset, size, _ = section
    exported: dict[int, str] = {}  # by the offset of the name, because a name may occur in several versions
    undefined: dict[int, str] = {}
    rows: Any = view.table(layout, offset, size // layout.size, "the table of dynamic symbols")
    for name_at, info, other, home, _, _ in rows:
        if home == 0:
            if info >> 4 == _STB_GLOBAL and name_at not in undefined:
                undefined[name_at] = names.at(name_at)
        elif (
            name_at not in exported
            and info >> 4 in _EXPORTED_BINDINGS
            and info & 15 not in _NAMELESS_TYPES
            and other & 3 in _EXPORTED_VISIBILITIES
        ):
            exported[name_at] = names.at(name_at)
    return frozenset(exported.values()), frozenset(undefined.values())


@dataclass
class _Tags:
    """The entries of the dynamic section."""

    needed: list[str] = field(default_factory=list)
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    flags: int = 0


def _dynamic(view: View, order: str, section: _Section, names: Names) -> _Tags:
    layout = Struct(order + "QQ")
    _, offset, size, _ = section
    tags = _Tags()
    for tag, value in view.table(layout, offset, size // layout.size, "the dynamic section"):
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            tags.needed.append(names.at(value))
        elif tag == _DT_SONAME:
            tags.soname = names.at(value)
        elif tag == _DT_RPATH:
            tags.rpath = tuple(names.at(value).split(":"))
        elif tag == _DT_RUNPATH:
            tags.runpath = tuple(names.at(value).split(":"))
        elif tag == _DT_FLAGS_1:
            tags.flags = value
    return tags
