"""Reads Mach-O, thin and fat, the format of macOS (``mach-o/loader.h``, ``fat.h`` and ``nlist.h``)."""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from typing import TYPE_CHECKING

from backworks.loading.inspection.host import this_machine
from backworks.loading.inspection.manifest import MAX_SECTION
from backworks.loading.inspection.reader import Damaged, Image, Linkage, Names, View
from backworks.loading.inspection.trie import exported

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FAT_MAGICS", "MAGICS", "read", "read_fat"]

#: First bytes -> byte order and bits.
MAGICS = {
    b"\xcf\xfa\xed\xfe": ("<", 64),
    b"\xfe\xed\xfa\xcf": (">", 64),
    b"\xce\xfa\xed\xfe": ("<", 32),
    b"\xfe\xed\xfa\xce": (">", 32),
}
#: First bytes -> layout of a slice's entry: processor, variant, offset, size.
FAT_MAGICS = {b"\xca\xfe\xba\xbe": Struct(">IIII4x"), b"\xca\xfe\xba\xbf": Struct(">IIQQ8x")}

#: More processors than Mach-O ever ran on. A Java class has the same magic, and has its version, 45 or more, here.
_MAX_SLICES = 32

#: The largest programs have a few hundred.
_MAX_COMMANDS = 1 << 16

_MACHINES = {7: "x86", 0x01000007: "x86_64", 12: "arm", 0x0100000C: "aarch64", 18: "ppc", 0x01000012: "ppc64"}
_ARM64E = (0x0100000C, 2)
_KINDS = {
    1: "object file",
    2: "executable",
    4: "core dump",
    6: "shared library",
    7: "dynamic linker",
    8: "bundle",
    9: "stub of a shared library",
    10: "file of debug information",
    11: "kernel extension",
}
_PLATFORMS = {
    1: "macos",
    2: "ios",
    3: "tvos",
    4: "watchos",
    6: "catalyst",
    7: "ios-simulator",
    11: "visionos",
}

_LC_SYMTAB, _LC_SEGMENT_64, _LC_BUILD_VERSION = 0x2, 0x19, 0x32
_LC_ID_DYLIB, _LC_RPATH = 0xD, 0x8000001C
_LC_DYLD_INFO, _LC_DYLD_EXPORTS_TRIE = {0x22, 0x80000022}, 0x80000033
_LC_LOADS = {0xC, 0x20, 0x80000018, 0x8000001F, 0x80000023}  # plain, lazy, weak, re-exported, upward
_LC_VERSION_MIN = {0x24: "macos", 0x25: "ios", 0x2F: "tvos", 0x30: "watchos"}

_N_STAB, _N_PEXT, _N_TYPE, _N_EXT = 0xE0, 0x10, 0x0E, 0x01
_DEFINED = {0x2, 0xA, 0xE}  # N_ABS, N_INDR, N_SECT


def read_fat(view: View) -> Image:
    """Reads the slice for this machine, or else the first; lists all architectures. Raises :exc:`Damaged`."""
    layout = FAT_MAGICS[view.read(0, 4, "the header")]
    (count,) = view.unpack(Struct(">I"), 4, "the header")
    if not 0 < count <= _MAX_SLICES:
        raise Damaged(
            f"a fat file must have 1 to {_MAX_SLICES} slices, not {count} (a Java class starts with the same bytes)"
        )
    slices = [
        (_architecture(cpu, variant), view.part(offset, size, "a slice"))
        for cpu, variant, offset, size in view.table(layout, 8, count, "the table of slices")
    ]
    architectures = tuple(dict.fromkeys(name for name, _ in slices))
    chosen = dict(reversed(slices)).get(this_machine(), slices[0][1])
    return replace(read(chosen), architectures=architectures)


def read(view: View) -> Image:
    """Reads a thin Mach-O file; only the header of a 32-bit one. Raises :exc:`Damaged`."""
    magic = view.read(0, 4, "the header")
    if magic not in MAGICS:
        raise Damaged(f"a slice starts with {magic.hex(' ')}, which is not Mach-O")
    order, bits = MAGICS[magic]
    cpu, variant, kind_number, count, size = view.unpack(Struct(order + "5I"), 4, "the header")
    architectures = (_architecture(cpu, variant),)
    kind = _KINDS.get(kind_number, f"file of type {kind_number}")
    if bits == 32:
        return Image("mach-o", "macos", architectures, bits, kind)

    commands = view.read(32, size, "the load commands")
    system, needed, soname, search = "macos", [], "", []
    manifest: bytes | None = None
    # The loop only records these: a file may list a table thousands of times, but it must be read once.
    trie: tuple[int, ...] = ()
    table: tuple[int, ...] = ()
    for command, data in _commands(commands, count, order):
        if command == _LC_SEGMENT_64:
            section = _segment(view, data, order, wanted=manifest is None)
            manifest = manifest if section is None else section
        elif command in _LC_LOADS:
            needed.append(_name(data, order))
        elif command == _LC_ID_DYLIB:
            soname = _name(data, order)
        elif command == _LC_RPATH:
            search.append(_name(data, order))
        elif command in _LC_DYLD_INFO:
            trie = _fields(order + "II", data, 40)
        elif command == _LC_DYLD_EXPORTS_TRIE:
            trie = _fields(order + "II", data, 8)
        elif command == _LC_SYMTAB:
            table = _fields(order + "4I", data, 8)
        elif command == _LC_BUILD_VERSION:
            (platform,) = _fields(order + "I", data, 8)
            system = _PLATFORMS.get(platform, f"platform {platform}")
        else:
            system = _LC_VERSION_MIN.get(command, system)
    symbols: frozenset[str] = frozenset()
    if trie:
        symbols = exported(view.read(trie[0], trie[1], "the export trie"))
    elif table:
        symbols = _symbols(view, order, *table)
    # C names start with an underscore here, which dlsym adds; it cannot find a name without one.
    exports = frozenset(name[1:] for name in symbols if name.startswith("_"))
    return Image(
        "mach-o",
        system,
        architectures,
        bits,
        kind,
        exports,
        tuple(needed),
        manifest,
        big_endian=order == ">",
        linkage=Linkage(soname, tuple(search), inherited=True),
    )


def _architecture(cpu: int, variant: int) -> str:
    if (cpu, variant & 0xFFFFFF) == _ARM64E:
        return "arm64e"
    return _MACHINES.get(cpu, f"processor {cpu}")


def _commands(data: bytes, count: int, order: str) -> Iterator[tuple[int, bytes]]:
    if count > _MAX_COMMANDS:
        raise Damaged(f"{count} load commands; the limit is {_MAX_COMMANDS}")
    at = 0
    for _ in range(count):
        command, size = _fields(order + "II", data, at)
        if size < 8 or at + size > len(data):
            raise Damaged(f"invalid load command of {size} bytes at byte {at} of {len(data)}")
        yield command, data[at : at + size]
        at += size


def _fields(layout: str, data: bytes, offset: int) -> tuple[int, ...]:
    structure = Struct(layout)
    if offset + structure.size > len(data):
        raise Damaged(f"a load command of {len(data)} bytes is too short for its fields")
    return structure.unpack_from(data, offset)


def _name(data: bytes, order: str) -> str:
    """Returns the name in a load command."""
    (name_at,) = _fields(order + "I", data, 8)
    return data[name_at:].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _segment(view: View, data: bytes, order: str, *, wanted: bool) -> bytes | None:
    """Checks a segment; returns the manifest's section if it is wanted and present."""
    offset, size, _, _, count = _fields(order + "QQIII", data, 40)
    view.check(offset, size, "a segment")
    layout = Struct(order + "16s16sQQI28x")
    if 72 + count * layout.size > len(data):
        raise Damaged(f"a segment has {count} sections in a load command of {len(data)} bytes")
    if not wanted:
        return None
    for section, segment, _, length, start in layout.iter_unpack(data[72 : 72 + count * layout.size]):
        if section.rstrip(b"\0") == b"__bworks" and segment.rstrip(b"\0") == b"__DATA":
            view.check(start, length, "section __DATA,__bworks")
            return view.read(start, min(length, MAX_SECTION), "section __DATA,__bworks")
    return None


def _symbols(view: View, order: str, offset: int, count: int, names_at: int, names_size: int) -> frozenset[str]:
    """Reads the symbol table, for a file without an export trie."""
    names = Names(view.read(names_at, names_size, "the string table"))
    return frozenset(
        names.at(name_at)
        for name_at, kind, _, _, _ in view.table(Struct(order + "IBBHQ"), offset, count, "the symbol table")
        if kind & _N_EXT and not kind & (_N_STAB | _N_PEXT) and kind & _N_TYPE in _DEFINED
    )
