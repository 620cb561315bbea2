"""Inspecting a file with any content ends quickly, with a result or a documented error.

The files are complete plugins in each format, truncated or with changed bytes, at random or at critical offsets.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CompilePlugin
from cross import cross_compile, join
from hypothesis import given, settings
from hypothesis import strategies as st

from backworks.errors import NotALibraryError, PluginLoadError
from backworks.loading.discovery import DiscoveredPlugin
from backworks.loading.inspection import LibraryInfo, inspect_library, parse_manifest, problems, version_key
from backworks.loading.inspection.manifest import read_section
from backworks.loading.inspection.reader import Damaged, Names
from backworks.loading.inspection.trie import exported

#: Seconds that a file of some megabytes may take at the very most, on a busy machine; a fraction of one is usual.
LIMIT = 10

#: What readers of numbers trip over.
EVIL = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF, 2**63, 2**64 - 1]

Make = Callable[[], bytes]

SEEDS: dict[str, Make] = {
    "elf": lambda: cross_compile("aarch64-linux-gnu"),
    "mach-o": lambda: cross_compile("x86_64-macos"),
    "pe": lambda: cross_compile("x86_64-windows-gnu"),
    "fat": lambda: join([cross_compile("x86_64-macos"), cross_compile("aarch64-macos")]),
}


def _outcome(path: Path) -> type:
    """Inspects a file, and uses everything in the result."""
    try:
        info = inspect_library(path)
    except NotALibraryError as error:
        return type(error)
    for problem in problems(info):
        str(problem).encode()
    "".join(info.exports | set(info.needed) | {info.system, info.kind, *info.architectures}).encode()
    return LibraryInfo


def _tables(data: bytes) -> list[int]:
    """Returns offsets that a reader uses: the start, the end, and those that numbers in the file point to."""
    places = {*range(min(len(data), 512)), *range(max(len(data) - 4096, 0), len(data), 8)}
    for at in range(0, min(len(data) - 8, 2048), 4):
        for offset in (*struct.unpack_from("<I", data, at), *struct.unpack_from(">I", data, at)):
            if 0 < offset < len(data) - 64:
                places.update(range(offset, offset + 64))
    return sorted(places)


@pytest.mark.parametrize("seed", SEEDS)
def test_changed_bytes(seed: str, tmp_path: Path) -> None:
    """Any change to bytes or numbers in a plugin leads to a result or a NotALibraryError."""
    whole = SEEDS[seed]()
    places = _tables(whole)
    path = tmp_path / "changed.so"
    chance = random.Random(seed)
    outcomes = set()
    for _ in range(800):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 4, 16])):
            at = chance.choice(places)
            width, order = chance.choice([1, 2, 4, 4, 8]), chance.choice(["little", "big"])
            number = chance.choice([*EVIL, len(whole), len(whole) - 1, chance.randrange(2**32)])
            data[at : at + width] = (number % 256**width).to_bytes(width, order)
        path.write_bytes(data)
        outcomes.add(_outcome(path))

    assert outcomes == {LibraryInfo, NotALibraryError}


@pytest.mark.parametrize("seed", SEEDS)
def test_missing_ends(seed: str, tmp_path: Path) -> None:
    """A plugin truncated anywhere is a NotALibraryError, unless only the final padding is missing."""
    whole = SEEDS[seed]()
    path = tmp_path / "short.so"
    chance = random.Random(seed)
    sizes = [*range(300), *(chance.randrange(len(whole)) for _ in range(200))]
    for size in sizes:
        path.write_bytes(whole[:size])
        outcome = _outcome(path)

        assert outcome is NotALibraryError or not whole[size:].strip(b"\0"), size


@settings(max_examples=200)
@given(
    st.sampled_from(
        [b"", b"\x7fELF\2\1", b"MZ", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xca\xfe\xba\xbe\0\0\0\1"]
    ),
    st.binary(max_size=600),
)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, magic: bytes, rest: bytes) -> None:
    """Arbitrary bytes, with and without the magic of a format, are listed with their problems."""
    path = tmp_path_factory.getbasetemp() / "any.so"
    path.write_bytes(magic + rest)

    assert DiscoveredPlugin.from_file(path).problems


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=())))
def test_any_name(name: str) -> None:
    """Arbitrary text as a path, with surrogates and NUL, is an error with a message."""
    with pytest.raises(PluginLoadError):
        inspect_library(f"/nowhere/{name}")


@settings(max_examples=150)
@given(st.recursive(st.sampled_from(["1", "null", '"a"', "1e9", "NaN", "[", "}"]), lambda x: st.lists(x).map(str)))
def test_any_manifest_text(text: str) -> None:
    """Arbitrary text yields either a manifest or a problem, never both or neither."""
    manifest, problem = parse_manifest(f'{{"name": "a", "version": "1.0.0", "abi": 1, "x": {text}}}'.encode())

    assert (manifest is None) != (problem is None)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_manifest_section(section: bytes, big_endian: bool) -> None:
    """Arbitrary sections, with and without the magic, have a problem."""
    for data in (section, b"BWMANIF1" + section):
        assert read_section(data, big_endian=big_endian)[1]


@settings(max_examples=300)
@given(st.lists(st.from_regex(r"[0-2]\.[0-2]\.[0-2](-[0-2a-b.]{1,5})?", fullmatch=True) | st.text(), max_size=6))
def test_any_versions(versions: list[str]) -> None:
    """Any versions can be sorted, always in the same order."""
    keys = [version_key(version) for version in versions]

    once = sorted(keys)
    keys.reverse()

    assert sorted(keys) == once


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_export_trie(data: bytes) -> None:
    """Arbitrary bytes as an export trie yield names or Damaged."""
    try:
        names = exported(data)
    except Damaged:
        return

    assert sum(map(len, names)) <= 64 * len(data) * len(r"\xff")


# Files crafted to exhaust a reader


def _within_limit(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    start = time.process_time()
    _outcome(path)

    assert time.process_time() - start < LIMIT


def _elf(sections: list[tuple[int, int, int, int]], body: bytes) -> bytes:
    """Returns an ELF file: the body, then a section table of types, offsets, sizes and links."""
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(sections), 0
    )
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, at, size, link, 0, 0, 0) for kind, at, size, link in sections
    )
    return header + body + table


def test_names_that_overlap(tmp_path: Path) -> None:
    """100,000 symbols with names that overlap in one megabyte are rejected, not expanded."""
    text = bytes(1) + b"a" * 1_000_000 + bytes(1)
    symbols = b"".join(struct.pack("<IBBHQQ", 1 + at, 0x12, 0, 1, 0, 0) for at in range(100_000))
    sections = [(3, 64, len(text), 0), (11, 64 + len(text), len(symbols), 0)]
    path = tmp_path / "overlap.so"
    _within_limit(path, _elf(sections, text + symbols))

    with pytest.raises(NotALibraryError, match="ELF file: the names overlap"):
        inspect_library(path)


def test_tables_that_are_stated_again_and_again(tmp_path: Path) -> None:
    """60,000 sections with the same symbol table are read once."""
    symbols = b"\0" * 24 + struct.pack("<IBBHQQ", 0, 0x12, 0, 1, 0, 0) * 40_000
    sections = [(3, 64, 24, 0)] + [(11, 64, len(symbols), 0)] * 60_000

    _within_limit(tmp_path / "again.so", _elf(sections, symbols))


def test_load_commands_that_are_stated_again_and_again(tmp_path: Path) -> None:
    """60,000 load commands for the same export trie are read once."""
    trie = b"\0\1a\0\5" + b"\1\0\0" * 100_000
    commands = struct.pack("<IIII", 0x80000033, 16, 32 + 16 * 60_000, len(trie)) * 60_000
    header = struct.pack("<8I", 0xFEEDFACF, 0x01000007, 3, 6, 60_000, len(commands), 0, 0)

    _within_limit(tmp_path / "again.dylib", header + commands + trie)


def test_an_export_trie_that_is_a_chain() -> None:
    """A trie of 100,000 nodes in a chain, whose names total five billion characters, is rejected."""
    node = 7  # no symbol, one child: "a", NUL, and three bytes of its offset
    chain = b"".join(
        b"\0\1a\0" + bytes([(at & 0x7F) | 0x80, (at >> 7 & 0x7F) | 0x80, at >> 14])
        for at in range(node, node * 100_000, node)
    )
    start = time.process_time()
    with pytest.raises(Damaged, match="too large"):
        exported(chain + b"\1\0\0")

    assert time.process_time() - start < LIMIT


def test_an_export_trie_in_a_circle() -> None:
    """A node that is its own child is rejected."""
    with pytest.raises(Damaged, match="loop"):
        exported(b"\0\1a\0\0")


def test_names_without_an_end() -> None:
    """A name without an end in the table, and one outside it, are rejected."""
    for offset in (0, 3, 2**64):
        with pytest.raises(Damaged, match="outside its table of 3 bytes"):
            Names(b"abc").at(offset)


def _pe(sections: list[tuple[int, int, int]], imports: int, body: bytes) -> bytes:
    """Returns a PE file with sections of given addresses, sizes and offsets, and an import table."""
    directories = struct.pack("<IIII", 0, 0, imports, 0)
    optional = struct.pack("<H106xI", 0x20B, 2) + directories
    coff = struct.pack("<4sHH12xHH", b"PE\0\0", 0x8664, len(sections), len(optional), 0x2022)
    table = b"".join(struct.pack("<8sIIII16x", b".x", size, at, size, start) for at, size, start in sections)
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + coff + optional + table + body


def test_an_import_table_without_an_end(tmp_path: Path) -> None:
    """A megabyte of imports without an end is rejected."""
    start = 64 + 24 + 128 + 40
    body = struct.pack("<12xI4x", 0x1000) * 50_000
    path = tmp_path / "imports.dll"
    _within_limit(path, _pe([(0x1000, len(body), start)], 0x1000, body))

    with pytest.raises(NotALibraryError, match="the import table does not end after 4096 entries"):
        inspect_library(path)


def test_sections_that_overlap(tmp_path: Path) -> None:
    """60,000 sections over the same megabyte are rejected before they are read."""
    start = 64 + 24 + 128 + 40 * 60_000
    sections = [(0x1000 * at, 1_000_000, start) for at in range(60_000)]
    path = tmp_path / "overlap.dll"
    _within_limit(path, _pe(sections, 0x1000, bytes(1_000_000)))

    with pytest.raises(NotALibraryError, match="PE file: the sections overlap"):
        inspect_library(path)


def test_a_plugin_of_this_machine_with_changed_bytes(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """Damaged output of this machine's own linker is read just as safely."""
    whole = compile_plugin().read_bytes()
    path = tmp_path / "native.so"
    chance = random.Random(0)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(8):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)

        assert _outcome(path) in (LibraryInfo, NotALibraryError)
