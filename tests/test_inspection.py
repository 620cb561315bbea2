"""What is read from library files: against compilers' output for nine platforms, ``nm`` and a second reader."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ECHO, PATIENCE, CompilePlugin, missing
from cross import TARGETS, cross_compile, join

from backworks.errors import (
    AbiVersionError,
    ManifestError,
    MissingSymbolsError,
    NotALibraryError,
    PluginLoadError,
    PluginNotFound,
    WrongPlatformError,
)
from backworks.ffi.contract import REQUIRED_SYMBOLS
from backworks.loading.inspection import (
    LibraryInfo,
    file_sha256,
    inspect_library,
    macho,
    parse_manifest,
    problems,
    this_machine,
    this_system,
    version_key,
)
from backworks.loading.inspection.manifest import MAX_SECTION, read_section

GOOD: dict[str, Any] = {"name": "echo", "version": "1.0.0", "abi": 1}

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="compiles and changes an ELF file of this machine")


@pytest.fixture(name="inspect")
def _inspect(tmp_path: Path) -> Callable[[bytes], LibraryInfo]:
    """Writes bytes to a file and inspects it."""

    def inspect(data: bytes) -> LibraryInfo:
        path = tmp_path / "plugin.so"
        path.write_bytes(data)
        return inspect_library(path)

    return inspect


Inspect = Callable[[bytes], LibraryInfo]


# What is read


def test_a_plugin_of_this_machine_is_read_whole(compile_plugin: CompilePlugin) -> None:
    """A plugin for this host has this host's system and processor, all symbols, a manifest and no problem."""
    path = compile_plugin()

    info = inspect_library(path)

    assert info.path == path
    assert info.size == path.stat().st_size
    assert (info.system, info.architectures, info.bits) == (this_system(), (this_machine(),), 64)
    assert info.kind in ("shared library", "bundle")
    assert info.exports >= set(REQUIRED_SYMBOLS)
    assert info.manifest is not None
    assert info.manifest.items() >= (GOOD | {"description": "Answers what it was sent"}).items()
    assert info.manifest_problem is None
    assert problems(info) == []
    assert hash(info) == hash(inspect_library(path))


@pytest.mark.parametrize("target", TARGETS)
def test_a_plugin_for_any_platform_is_read_on_any_other(target: str, inspect: Inspect) -> None:
    """Format, system, processor, symbols, dependencies and manifest are read on whichever host."""
    info = inspect(cross_compile(target))

    assert (info.format, info.system, *info.architectures) == TARGETS[target]
    assert (info.kind, info.bits) == ("shared library", 64)
    assert {name for name in info.exports if name.startswith("backworks")} == {
        *REQUIRED_SYMBOLS,
        "backworks_plugin_manifest",
    }
    assert info.manifest is not None
    assert info.manifest["name"] == "echo"
    assert any(re.search(r"libc\.so|libSystem|KERNEL32", name) for name in info.needed)
    assert problems(info, system=info.system, machine=info.architectures[0]) == []


def test_windows_on_arm_is_told_by_the_machine_in_the_header(inspect: Inspect) -> None:
    """A file with the number of that machine, which is that of Microsoft's "PE Format", is for aarch64."""
    data = bytearray(cross_compile("x86_64-windows-gnu"))
    (header,) = struct.unpack_from("<I", data, 0x3C)
    struct.pack_into("<H", data, header + 4, 0xAA64)
    info = inspect(bytes(data))

    assert (info.format, info.system, *info.architectures) == ("pe", "windows", "aarch64")
    assert info.manifest is not None
    assert info.manifest["name"] == "echo"


@pytest.mark.parametrize("target", TARGETS)
def test_a_plugin_for_another_host_is_refused_with_both_names(target: str, inspect: Inspect) -> None:
    """The problem of a foreign plugin says what it was built for and what is needed."""
    _, system, machine = TARGETS[target]

    (problem,) = problems(inspect(cross_compile(target)), system="plan9", machine="vax")

    assert isinstance(problem, WrongPlatformError)
    assert f"built for {system} {machine}; this host needs plan9 vax" in str(problem)
    assert problem.plugin == "echo"


@pytest.mark.parametrize("wide", [False, True], ids=["fat", "fat64"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_of_a_fat_file_the_slice_for_this_machine_is_read(
    machine: str, wide: bool, inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processors are named; the rest tells of this machine's slice, or of the first if there is none."""
    monkeypatch.setattr(macho, "this_machine", lambda: machine)
    versions = {"aarch64": "1.0.0", "x86_64": "2.0.0"}
    slices = [cross_compile(f"{cpu}-macos", (f'-DVERSION="{version}"',)) for cpu, version in versions.items()]

    info = inspect(join(slices, wide=wide))

    assert info.architectures == ("aarch64", "x86_64")
    assert info.manifest is not None
    assert info.manifest["version"] == versions.get(machine, "1.0.0")
    assert problems(info, system="macos", machine="x86_64") == []
    assert "macos aarch64 and x86_64" in str(problems(info, system="linux", machine="x86_64")[0])


def test_a_mach_o_file_without_an_export_trie_is_read_from_its_symbol_table(inspect: Inspect) -> None:
    """Both tables of a Mach-O file tell the same functions."""
    data = bytearray(cross_compile("x86_64-macos"))
    with_trie = inspect(bytes(data))
    at = 32
    for _ in range(struct.unpack_from("<I", data, 16)[0]):
        command, size = struct.unpack_from("<II", data, at)
        if command in (0x22, 0x80000022, 0x80000033):
            struct.pack_into("<I", data, at, 0x7F)
        at += size

    without = inspect(bytes(data))

    assert set(REQUIRED_SYMBOLS) <= without.exports
    assert {name for name in with_trie.exports ^ without.exports if name.startswith("backworks")} == set()


def test_a_32_bit_library_is_refused_in_a_sentence(inspect: Inspect) -> None:
    """A 32-bit library is named as such, without a word about symbols that nobody looked for."""
    info = inspect(cross_compile("x86-linux-musl"))

    (problem,) = problems(info, system="linux", machine="x86_64")

    assert (info.bits, info.architectures) == (32, ("x86",))
    assert isinstance(problem, WrongPlatformError)
    assert "a 32-bit library (linux x86)" in str(problem)


@linux_only
def test_weak_and_data_symbols_count_and_hidden_and_undefined_ones_do_not(compile_plugin: CompilePlugin) -> None:
    """The exported names are those that dlsym finds."""
    source = """
        #define SHOWN __attribute__((visibility("default")))
        extern int undefined_function(void);
        SHOWN int function(void) { return undefined_function(); }
        SHOWN __attribute__((weak)) int weak_function(void) { return 1; }
        SHOWN int data = 1;
        int hidden_function(void) { return 2; }
        __attribute__((visibility("protected"))) int protected_function(void) { return 2; }"""

    info = inspect_library(compile_plugin(source, "symbols"))

    assert {name for name in info.exports if not name.startswith("_")} == {
        "function",
        "weak_function",
        "data",
        "protected_function",
    }


def _system_libraries() -> list[Path]:
    """The C library and what there is of some large ones, through links that lead to a file of symbols."""
    directories = [Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"), *Path("/usr/lib").glob("*-linux-*")]
    found = [Path("/lib64/libc.so.6"), Path("/lib/libc.so.6")]
    for directory in directories:
        for pattern in ("libc.so.6", "libz.so.*", "libcrypto.so.*", "libstdc++.so.*", "libm.so.6"):
            found += directory.glob(pattern)
    return sorted({path.resolve() for path in found if path.is_file()})


@linux_only
def test_the_exports_of_the_systems_libraries_are_those_that_nm_lists() -> None:
    """The exported names of real libraries, libstdc++ with its unique symbols among them, are those of ``nm -D``."""
    nm = shutil.which("nm") or missing("nm")
    libraries = _system_libraries()

    assert libraries
    for path in libraries:
        listed = subprocess.run(
            [str(nm), "-D", "--defined-only", "--extern-only", str(path)], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        assert inspect_library(path).exports == {line.split()[-1].split("@")[0] for line in listed}, path


def test_the_exports_of_foreign_libraries_are_those_that_another_reader_finds(tmp_path: Path) -> None:
    """lief, a parser in C++ that nothing here shares code with, finds the same functions in PE and Mach-O files."""
    if importlib.util.find_spec("lief") is None:
        missing("the Python package lief")
    import lief

    for target, (form, *_) in TARGETS.items():
        path = tmp_path / target
        path.write_bytes(cross_compile(target))
        parsed: Any = lief.parse(str(path))
        theirs = {function.name for function in parsed.exported_functions}
        libraries = [getattr(library, "name", library) for library in parsed.libraries]
        if form == "mach-o":
            theirs = {name.removeprefix("_") for name in theirs}
            libraries.remove("plugin.out")  # the library's own name, which lief counts among the others
        info = inspect_library(path)

        assert {name for name in theirs if name.startswith("backworks")} >= set(REQUIRED_SYMBOLS)
        assert theirs <= info.exports | {""}, target
        assert info.needed == tuple(libraries)


@linux_only
def test_an_executable_is_no_plugin(cc: list[str], tmp_path: Path) -> None:
    """A position-independent executable, which is nearly a shared library, is told from one; so is an object file."""
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }", encoding="utf-8")
    for flags, kind in ((["-pie", "-fPIE"], "executable"), (["-c"], "object file")):
        program = tmp_path / "program"
        subprocess.run([*cc, *flags, str(source), "-o", str(program)], check=True)
        info = inspect_library(program)
        first, second = problems(info)

        assert info.kind == kind
        assert isinstance(first, NotALibraryError)
        assert f"kind is '{kind}'; a plugin is a shared library" in str(first)
        assert isinstance(second, MissingSymbolsError)


def test_every_missing_function_is_named(compile_plugin: CompilePlugin) -> None:
    """A library that lacks functions of the ABI has one problem, with the names of all of them."""
    source = "#include <backworks_plugin.h>\nBACKWORKS_PLUGIN_FREE_STRING"

    (problem,) = problems(inspect_library(compile_plugin(source, "free_only")))

    assert isinstance(problem, MissingSymbolsError)
    assert problem.symbols == tuple(name for name in REQUIRED_SYMBOLS if not name.endswith("free_string"))
    assert all(name in str(problem) for name in problem.symbols)


def test_every_problem_is_told_at_once(inspect: Inspect) -> None:
    """A foreign plugin without one function and with another ABI has three problems, the platform first."""
    source = ECHO.replace("backworks_plugin_shutdown(", "not_shutdown(").replace(
        'BACKWORKS_PLUGIN(NAME, VERSION, "description": "Answers what it was sent")',
        r"""BACKWORKS_PLUGIN_IDENTITY(NAME, VERSION)
        BACKWORKS_PLUGIN_MANIFEST("{\"name\": \"echo\", \"version\": \"1.0.0\", \"abi\": 2}")""",
    )
    source = f"#define not_shutdown not_shutdown\n{source}".replace(
        "int32_t not_shutdown", "int32_t not_shutdown(backworks_plugin *);\nint32_t not_shutdown"
    )

    found = problems(inspect(cross_compile("aarch64-macos", source=source)), system="linux", machine="x86_64")

    assert [type(problem) for problem in found] == [WrongPlatformError, MissingSymbolsError, AbiVersionError]
    assert "version 2; this host speaks version 1" in str(found[2])


# What is no library


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\nexit 0\n", "it begins with '#!/bin/sh'"),
        (b"!<arch>\n" + bytes(60), "a static library, which cannot be loaded"),
        (b"\0asm\1\0\0\0", "a WebAssembly module"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        (b"\x01\x02\x03", "it begins with the bytes 01 02 03"),
        (b"\x7fELF", "ELF file, cut off: the header ends at byte 16 of 4"),
        (b"\x7fELF" + bytes(60), "a header of class 0"),
        (b"MZ" + bytes(100), "without a PE header"),
        (b"MZ", "PE file, cut off: the DOS header ends at byte 64 of 2"),
        (b"\xcf\xfa\xed\xfe", "Mach-O file, cut off: the header"),
        (b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(60), "52 slices; a fat file has 1 to 32 (a Java class"),
        (b"\xca\xfe\xba\xbe\0\0\0\1" + bytes(60), "a slice that begins with|cut off"),
    ],
)
def test_a_file_that_is_no_library_is_named_by_how_it_begins(data: bytes, words: str, inspect: Inspect) -> None:
    """The error of a file that is something else says what was found."""
    with pytest.raises(NotALibraryError) as caught:
        inspect(data)

    assert any(word in str(caught.value) for word in words.split("|"))
    assert caught.value.path.endswith("plugin.so")


@pytest.mark.parametrize("target", TARGETS)
def test_a_library_that_is_cut_off_is_told_by_where(target: str, inspect: Inspect) -> None:
    """Wherever a download broke off, the error says which part ends where, and how long the file is."""
    whole = cross_compile(target)
    for parts in range(1, 16):
        size = len(whole) * parts // 16
        with pytest.raises(NotALibraryError, match=rf"cut off: .+ ends at byte \d+ of {size}$"):
            inspect(whole[:size])


@linux_only
def test_a_library_without_a_section_table_is_refused_in_a_sentence(
    compile_plugin: CompilePlugin, inspect: Inspect
) -> None:
    """The section table tells symbols and manifest; without it nothing is known."""
    data = bytearray(compile_plugin().read_bytes())
    data[40:48] = bytes(8)

    with pytest.raises(NotALibraryError, match="no section table: it was stripped of what tells its symbols"):
        inspect(bytes(data))


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A missing file, a directory, an impossible name and a pipe are errors, and none of them is waited for."""
    cases: dict[Path | str, str] = {
        tmp_path / "absent.so": "no such file",
        tmp_path: "is a directory",
        "a\0b": "cannot name a file",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.so")
        cases[tmp_path / "pipe.so"] = "is not a regular file"
    for path, words in cases.items():
        with pytest.raises(PluginNotFound, match=words):
            inspect_library(path)
        with pytest.raises(PluginNotFound, match=words):
            file_sha256(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege on Windows")
def test_a_file_that_cannot_be_read_is_told_with_the_systems_words(tmp_path: Path) -> None:
    """What the system says about a file that it does not give out is part of the error."""
    (tmp_path / "circle.so").symlink_to(tmp_path / "circle.so")

    with pytest.raises(PluginLoadError, match=r"cannot be read: .*symbolic link"):
        inspect_library(tmp_path / "circle.so")


def test_the_hash_is_the_files(compile_plugin: CompilePlugin) -> None:
    """The SHA-256 is that of the file's bytes."""
    path = compile_plugin()

    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_changes_while_it_is_read_is_an_error_and_no_crash(
    compile_plugin: CompilePlugin, tmp_path: Path
) -> None:
    """A library that somebody cuts off and writes anew all the time is read whole, or is an error."""
    whole = compile_plugin().read_bytes()
    path = tmp_path / "changing.so"
    path.write_bytes(whole)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            with path.open("r+b") as file:
                file.truncate(0)
                file.write(whole)

    writer = threading.Thread(target=change)
    writer.start()
    outcomes: set[type] = set()
    try:
        for _ in range(200):
            try:
                outcomes.add(type(inspect_library(path)))
            except PluginLoadError as error:
                outcomes.add(type(error))
    finally:
        stop.set()
        writer.join(timeout=PATIENCE)

    assert outcomes <= {LibraryInfo, NotALibraryError}


# The manifest


def _section(text: bytes, magic: bytes = b"BWMANIF1", size: int | None = None, reserved: int = 0) -> bytes:
    return struct.pack("<8sII", magic, len(text) if size is None else size, reserved) + text


def test_a_manifest_with_every_member_and_others_is_taken_as_it_is() -> None:
    """Known members are checked, unknown ones kept, and bytes after the manifest ignored."""
    manifest = GOOD | {
        "description": "Décode",
        "license": "MIT",
        "authors": ["A", "B"],
        "thread_safe": False,
        "config_schema": {"type": "object"},
        "isolation": ["process", "none"],
        "permissions": [],
        "x-vendor": {"deep": [1.5, None]},
    }

    assert read_section(_section(json.dumps(manifest).encode()) + bytes(100)) == (manifest, None)


def test_a_manifest_is_read_in_the_byte_order_of_its_platform() -> None:
    """A big-endian platform's header is read as such."""
    section = struct.pack(">8sII", b"BWMANIF1", 2, 0) + b"{}"

    assert "is missing" in str(read_section(section, big_endian=True)[1])
    assert "at most 262144" in str(read_section(section)[1])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (b"", "fewer than its header"),
        (_section(b"{}", magic=b"BWMANIF9"), "begins with b'BWMANIF9'"),
        (_section(b"{}", reserved=7), "reserved field of its header is 7"),
        (_section(b"{}", size=3), "it claims 3 bytes; its section holds 2"),
        (_section(b"{}", size=262_145), "at most 262144 are allowed"),
        (_section(b""), "not JSON: Expecting value at character 0"),
        (_section(b"\xff{}"), "not UTF-8 at byte 0"),
        (_section(b"[]"), "it is a list, not an object"),
        (_section(b"null"), "it is null, not an object"),
        (_section(b'{"name": "a", "name": "b"}'), 'the member "name" is there twice'),
        (_section(b'{"x": NaN}'), "NaN is not a JSON value"),
        (_section(b'{"x": 1e999}'), "the number .* is out of range"),
        (_section(b'{"x": "\\ud800"}'), "half of a surrogate pair"),
        (_section(b'{"x": ' + b"9" * 5000 + b"}"), "not JSON"),
        (_section(b"[" * 200_000), "nested too deeply"),
        (_section(b"{}"), '"name" is missing.*"version" is missing.*"abi" is missing'),
    ],
)
def test_a_broken_manifest_is_told_in_a_sentence(section: bytes, words: str) -> None:
    """What is wrong with a manifest is said, and nothing of it is used."""
    manifest, problem = read_section(section)

    assert manifest is None
    assert re.search(words, str(problem))


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("name", "Weather", '"name" is "Weather", not 1 to 64 characters'),
        ("name", "a" * 65, '"name" is "aaaa'),
        ("name", "echo\n", '"name" is "echo\\n"'),
        ("name", 1, '"name" is 1'),
        ("name", [], '"name" is a list'),
        ("version", "1.0", '"version" is "1.0", not a version'),
        ("version", "1.0.0-" + "a" * 250_000 + "!", '"version" is "1.0.0-aaa'),
        ("abi", "1", '"abi" is "1", not a whole number'),
        ("abi", True, '"abi" is true'),
        ("abi", -1, '"abi" is -1'),
        ("description", "\x1b[2J", '"description" is "\\u001b[2J", not text without control characters'),
        ("authors", "me", '"authors" is "me", not a list'),
        ("authors", [1], '"authors" is a list, not a list of text'),
        ("isolation", [], '"isolation" is a list, not a list of one or more of "process", "thread" and "none"'),
        ("isolation", ["process", "fork"], '"isolation" is a list, not a list of one or more of'),
        ("isolation", [["process"]], '"isolation" is a list, not a list of one or more of'),
        ("isolation", "process", '"isolation" is "process", not a list of one or more of'),
        ("permissions", {}, '"permissions" is an object'),
        ("thread_safe", "no", '"thread_safe" is "no", not true or false'),
        ("config_schema", True, '"config_schema" is true, not an object'),
        ("license", None, '"license" is null'),
    ],
)
def test_a_member_of_the_wrong_kind_is_told_with_what_is_accepted(member: str, value: Any, words: str) -> None:
    """The problem names the member, what it is and what it should be."""
    manifest, problem = parse_manifest(json.dumps(GOOD | {member: value}).encode())

    assert manifest is None
    assert problem is not None
    assert words in problem


def test_all_wrong_members_are_told_at_once() -> None:
    """A manifest with three mistakes has three sentences."""
    _, problem = parse_manifest(b'{"name": "A", "abi": "x", "version": "1.0.0", "license": 3}')

    assert problem is not None
    assert re.findall(r'"(\w+)" is', problem) == ["name", "abi", "license"]


def test_a_broken_manifest_is_a_problem_of_the_library(compile_plugin: CompilePlugin) -> None:
    """A plugin whose manifest is too large is read, without a manifest, and would not load."""
    source = ECHO.replace('"description": "Answers what it was sent"', f'"description": "{"x" * MAX_SECTION}"')

    info = inspect_library(compile_plugin(source, "large"))
    (problem,) = problems(info)

    assert info.manifest is None
    assert isinstance(problem, ManifestError)
    assert "the manifest is broken: it claims" in str(problem)


# Versions


def test_versions_are_in_the_order_of_semver() -> None:
    """The order is semver.org's, numbers of any length and what is no version included."""
    ordered = [
        None,
        "0.0.0-0",
        "0.9.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.9",
        "1.0.10",
        "1.10.0",
        f"1.{'9' * 5000}.0",
        "2.0.0",
    ]
    shuffled = random.Random(1).sample(ordered, len(ordered))

    assert sorted(shuffled, key=version_key) == ordered
    assert version_key("1.0.0+a") == version_key("1.0.0+b")
    assert version_key("1.0") == version_key("01.0.0") == version_key("1.0.0\n") == version_key(None)
