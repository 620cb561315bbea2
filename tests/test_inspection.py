"""Inspection of library files, checked against compilers' output for nine platforms, ``nm`` and a second reader."""

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
from bundles import FROM_LINKED, build_dependency, build_plugin
from conftest import ECHO, PATIENCE, CompilePlugin, missing
from cross import TARGETS, cross_compile, join

import backworks
from backworks.config.load import as_config
from backworks.config.plugins import check_plugins
from backworks.errors import (
    AbiVersionError,
    LinkError,
    ManifestError,
    MissingSymbolsError,
    NotALibraryError,
    PluginLoadError,
    PluginNotFound,
    WrongPlatformError,
)
from backworks.ffi.contract import REQUIRED_SYMBOLS
from backworks.loading.discovery import PluginDiscovery
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
from backworks.loading.linking import link_problems

GOOD: dict[str, Any] = {"name": "echo", "version": "1.0.0", "abi": 1}

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="compiles and changes an ELF file of this machine")


@pytest.fixture(name="inspect")
def _inspect(tmp_path: Path) -> Callable[[bytes], LibraryInfo]:
    """Returns a function that writes bytes to a file and inspects it."""

    def inspect(data: bytes) -> LibraryInfo:
        path = tmp_path / "plugin.so"
        path.write_bytes(data)
        return inspect_library(path)

    return inspect


Inspect = Callable[[bytes], LibraryInfo]


# Metadata


def test_a_plugin_of_this_machine_is_read_whole(compile_plugin: CompilePlugin) -> None:
    """A plugin for this host has the host's system and processor, all symbols, a manifest and no problems."""
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
    """Format, system, processor, symbols, dependencies and manifest can be read on any host."""
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


def test_windows_on_arm(inspect: Inspect) -> None:
    """A file with the machine number that Microsoft's "PE Format" assigns to arm64 is for aarch64."""
    data = bytearray(cross_compile("x86_64-windows-gnu"))
    (header,) = struct.unpack_from("<I", data, 0x3C)
    struct.pack_into("<H", data, header + 4, 0xAA64)
    info = inspect(bytes(data))

    assert (info.format, info.system, *info.architectures) == ("pe", "windows", "aarch64")
    assert info.manifest is not None
    assert info.manifest["name"] == "echo"


@pytest.mark.parametrize("target", TARGETS)
def test_a_plugin_for_another_host_is_refused_with_both_names(target: str, inspect: Inspect) -> None:
    """For a foreign plugin, the problem states the platform it was built for and the one needed."""
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
    """All processors are listed; the other fields describe this machine's slice, or else the first."""
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
    """Both tables of a Mach-O file list the same functions."""
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
    """A 32-bit library is reported as such, without problems about symbols, which are not read."""
    info = inspect(cross_compile("x86-linux-musl"))

    (problem,) = problems(info, system="linux", machine="x86_64")

    assert (info.bits, info.architectures) == (32, ("x86",))
    assert isinstance(problem, WrongPlatformError)
    assert "a 32-bit library (linux x86)" in str(problem)


@linux_only
def test_weak_and_data_symbols_count_and_hidden_and_undefined_ones_do_not(compile_plugin: CompilePlugin) -> None:
    """The exported names are the ones that dlsym finds."""
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
    """Yields the C library and the installed ones of some large libraries, with links resolved."""
    directories = [Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"), *Path("/usr/lib").glob("*-linux-*")]
    found = [Path("/lib64/libc.so.6"), Path("/lib/libc.so.6")]
    for directory in directories:
        for pattern in ("libc.so.6", "libz.so.*", "libcrypto.so.*", "libstdc++.so.*", "libm.so.6"):
            found += directory.glob(pattern)
    return sorted({path.resolve() for path in found if path.is_file()})


@linux_only
def test_the_exports_of_the_systems_libraries_are_those_that_nm_lists() -> None:
    """The exported names of real libraries, such as libstdc++ with its unique symbols, match ``nm -D``."""
    nm = shutil.which("nm") or missing("nm")
    libraries = _system_libraries()

    assert libraries
    for path in libraries:
        listed = subprocess.run(
            [str(nm), "-D", "--defined-only", "--extern-only", str(path)], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        assert inspect_library(path).exports == {line.split()[-1].split("@")[0] for line in listed}, path


def test_the_exports_of_foreign_libraries_are_those_that_another_reader_finds(tmp_path: Path) -> None:
    """lief, an independent parser in C++, finds the same functions in PE and Mach-O files."""
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
            libraries.remove("plugin.out")  # the library's own name, which lief includes
        info = inspect_library(path)

        assert {name for name in theirs if name.startswith("backworks")} >= set(REQUIRED_SYMBOLS)
        assert theirs <= info.exports | {""}, target
        assert info.needed == tuple(libraries)


class TestLinking:
    """What the dynamic linker would say, predicted from files."""

    @linux_only
    def test_version(self, cc: list[str], tmp_path: Path) -> None:
        """A library that needs a later version of the C library is reported with the version and the file."""
        plugin = build_plugin(cc, tmp_path / "libp.so", ECHO)
        data = plugin.read_bytes()
        later = "GLIBC_2.99"
        needed = sorted(name for _, name in inspect_library(plugin).linkage.needed_versions)
        old = next(name for name in needed if len(name) >= len(later))
        plugin.write_bytes(data.replace(old.encode() + b"\0", later.encode().ljust(len(old) + 1, b"\0")))
        (problem,) = link_problems(inspect_library(plugin))

        assert isinstance(problem, LinkError)
        assert "libp.so needs GLIBC_2.99 of libc.so.6, which /" in str(problem)
        (found,) = PluginDiscovery([tmp_path]).scan()
        assert [str(each) for each in found.problems] == [str(problem)]
        with pytest.raises(LinkError, match="GLIBC_2.99"):
            backworks.load(plugin)

    @linux_only
    @pytest.mark.parametrize("direct", [True, False], ids=["plugin", "dependency"])
    def test_undefined(self, cc: list[str], tmp_path: Path, direct: bool) -> None:
        """A symbol that no linked library exports is reported, also by the check of a configuration."""
        place = tmp_path / "lib"
        uses = 'int missing_one(void); const char *value(void) { return missing_one() ? "a" : "b"; }'
        build_dependency(cc, place, "x", source="" if direct else uses)
        source = ECHO + "int missing_one(void);\nBACKWORKS_EXPORT int f(void);\nint f(void) { return missing_one(); }"
        plugin = build_plugin(
            cc, tmp_path / "libp.so", source if direct else FROM_LINKED, ["lib"], place, ["-Wl,--allow-shlib-undefined"]
        )
        (line,) = check_plugins(as_config({"plugins": {"p": {"path": str(plugin)}}}), linking=True).libraries

        assert f"{'libp.so' if direct else 'libdep.so'} uses missing_one, which no library" in line

    @linux_only
    def test_no_false_alarm(self, cc: list[str], tmp_path: Path) -> None:
        """Nothing is reported of symbols that are weak, found indirectly, of this program, or not decidable."""
        place = build_dependency(cc, tmp_path / "lib", "x").parent
        extern = (
            "extern int weak_one(void) __attribute__((weak));\nextern const char *value(void);\n"
            "extern int Py_IsInitialized(void);\nBACKWORKS_EXPORT int f(void);\n"
            "int f(void) { return (weak_one && weak_one()) || value() || Py_IsInitialized(); }"
        )
        plugin = build_plugin(cc, tmp_path / "libp.so", ECHO + extern, ["lib"], place, ["-lm", "-lpthread"])
        assert link_problems(inspect_library(plugin)) == []
        (place / "libdep.so").unlink()
        assert link_problems(inspect_library(plugin)) == []

    @linux_only
    def test_system_libraries(self) -> None:
        """Nothing is reported of the libraries of this system, all of which can be loaded."""
        for path in _system_libraries():
            assert link_problems(inspect_library(path)) == []


@linux_only
def test_executables_are_not_plugins(cc: list[str], tmp_path: Path) -> None:
    """A position-independent executable and an object file are distinguished from a shared library."""
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }", encoding="utf-8")
    for flags, kind in ((["-pie", "-fPIE"], "executable"), (["-c"], "object file")):
        program = tmp_path / "program"
        subprocess.run([*cc, *flags, str(source), "-o", str(program)], check=True)
        info = inspect_library(program)
        first, second = problems(info)

        assert info.kind == kind
        assert isinstance(first, NotALibraryError)
        assert f"a plugin must be a shared library, not a file of kind '{kind}'" in str(first)
        assert isinstance(second, MissingSymbolsError)


def test_every_missing_function_is_named(compile_plugin: CompilePlugin) -> None:
    """A library that lacks functions of the ABI has one problem, which lists all of them."""
    source = "#include <backworks_plugin.h>\nBACKWORKS_PLUGIN_FREE_STRING"

    (problem,) = problems(inspect_library(compile_plugin(source, "free_only")))

    assert isinstance(problem, MissingSymbolsError)
    assert problem.symbols == tuple(name for name in REQUIRED_SYMBOLS if not name.endswith("free_string"))
    assert all(name in str(problem) for name in problem.symbols)


def test_all_problems_are_reported_together(inspect: Inspect) -> None:
    """A foreign plugin that lacks a function and has another ABI has three problems, the platform first."""
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
    assert "ABI version 2, but this host has version 1" in str(found[2])


# Files that are not libraries


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\nexit 0\n", "the file starts with '#!/bin/sh'"),
        (b"!<arch>\n" + bytes(60), "the file is a static library; link a shared one"),
        (b"\0asm\1\0\0\0", "a WebAssembly module"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        (b"\x01\x02\x03", "the file starts with the bytes 01 02 03"),
        (b"\x7fELF", "ELF file: truncated: the header ends at byte 16 of 4"),
        (b"\x7fELF" + bytes(60), "the header has an invalid class 0"),
        (b"MZ" + bytes(100), "no PE header"),
        (b"MZ", "PE file: truncated: the DOS header ends at byte 64 of 2"),
        (b"\xcf\xfa\xed\xfe", "Mach-O file: truncated: the header"),
        (b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(60), "a fat file must have 1 to 32 slices, not 52 (a Java class"),
        (b"\xca\xfe\xba\xbe\0\0\0\1" + bytes(60), "a slice starts with|truncated"),
    ],
)
def test_other_files_are_described(data: bytes, words: str, inspect: Inspect) -> None:
    """For a file that is not a library, the error says what it is or how it starts."""
    with pytest.raises(NotALibraryError) as caught:
        inspect(data)

    assert any(word in str(caught.value) for word in words.split("|"))
    assert caught.value.path.endswith("plugin.so")


@pytest.mark.parametrize("target", TARGETS)
def test_truncated_libraries(target: str, inspect: Inspect) -> None:
    """For a partial download, the error says which part should end where, and the size of the file."""
    whole = cross_compile(target)
    for parts in range(1, 16):
        size = len(whole) * parts // 16
        with pytest.raises(NotALibraryError, match=rf"truncated: .+ ends at byte \d+ of {size}$"):
            inspect(whole[:size])


@linux_only
def test_no_section_table(compile_plugin: CompilePlugin, inspect: Inspect) -> None:
    """A library without a section table, which locates symbols and manifest, is rejected."""
    data = bytearray(compile_plugin().read_bytes())
    data[40:48] = bytes(8)

    with pytest.raises(NotALibraryError, match="no section table: build the library without stripping it"):
        inspect(bytes(data))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A missing file, a directory, an invalid name and a pipe are errors, and none of them blocks."""
    cases: dict[Path | str, str] = {
        tmp_path / "absent.so": "no such file",
        tmp_path: "is a directory",
        "a\0b": "not a valid file name",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.so")
        cases[tmp_path / "pipe.so"] = "is not a regular file"
    for path, words in cases.items():
        with pytest.raises(PluginNotFound, match=words):
            inspect_library(path)
        with pytest.raises(PluginNotFound, match=words):
            file_sha256(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_unreadable_file(tmp_path: Path) -> None:
    """If a file cannot be read, the error includes the system's message."""
    (tmp_path / "circle.so").symlink_to(tmp_path / "circle.so")

    with pytest.raises(PluginLoadError, match=r"cannot read the file: .*symbolic link"):
        inspect_library(tmp_path / "circle.so")


def test_the_hash_is_the_files(compile_plugin: CompilePlugin) -> None:
    """The SHA-256 is computed over the bytes of the file."""
    path = compile_plugin()

    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_changes_while_it_is_read_is_an_error_and_no_crash(
    compile_plugin: CompilePlugin, tmp_path: Path
) -> None:
    """A library that is constantly truncated and rewritten is read completely, or is an error."""
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
    """Known members are checked, unknown ones are kept, and bytes after the manifest are ignored."""
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
    """The header of a big-endian platform is read as big-endian."""
    section = struct.pack(">8sII", b"BWMANIF1", 2, 0) + b"{}"

    assert "is missing" in str(read_section(section, big_endian=True)[1])
    assert "the limit is 262144" in str(read_section(section)[1])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (b"", "fewer than the header's"),
        (_section(b"{}", magic=b"BWMANIF9"), "starts with b'BWMANIF9'"),
        (_section(b"{}", reserved=7), "reserved field of its header is 7"),
        (_section(b"{}", size=3), "its size is 3 bytes, but its section holds 2"),
        (_section(b"{}", size=262_145), "the limit is 262144"),
        (_section(b""), "not JSON: Expecting value at character 0"),
        (_section(b"\xff{}"), "not UTF-8 at byte 0"),
        (_section(b"[]"), "it is a list, not an object"),
        (_section(b"null"), "it is null, not an object"),
        (_section(b'{"name": "a", "name": "b"}'), 'duplicate member "name"'),
        (_section(b'{"x": NaN}'), "NaN is not a JSON value"),
        (_section(b'{"x": 1e999}'), "the number .* is out of range"),
        (_section(b'{"x": 1' + b"0" * 400 + b"}"), "the number .* is out of range"),
        (_section(b'{"x": 1' + b"0" * 6000 + b"}"), "the number .* is out of range"),
        (_section(b'{"x": "\\ud800"}'), "lone surrogate"),
        (_section(b'{"x": ' + b"9" * 5000 + b"}"), "not JSON"),
        (_section(b"[" * 200_000), "nested too deeply"),
        (_section(b"{}"), '"name" is missing.*"version" is missing.*"abi" is missing'),
    ],
)
def test_invalid_manifests(section: bytes, words: str) -> None:
    """An invalid manifest is reported with its problem, and nothing in it is used."""
    manifest, problem = read_section(section)

    assert manifest is None
    assert re.search(words, str(problem))


@pytest.mark.parametrize(
    ("member", "value", "rule", "found"),
    [
        ("name", "Weather", '"name" must be 1 to 64 characters', 'not "Weather"'),
        ("name", "a" * 65, '"name" must be', 'not "aaaa'),
        ("name", "echo\n", '"name" must be', 'not "echo\\n"'),
        ("name", 1, '"name" must be', "not 1"),
        ("name", [], '"name" must be', "not []"),
        ("version", "1.0", '"version" must be a semantic version', 'not "1.0"'),
        ("version", "1.0.0-" + "a" * 250_000 + "!", '"version" must be', 'not "1.0.0-aaa'),
        ("abi", "1", '"abi" must be a non-negative integer', 'not "1"'),
        ("abi", True, '"abi" must be', "not true"),
        ("abi", -1, '"abi" must be', "not -1"),
        ("description", "\x1b[2J", '"description" must be text without control characters', 'not "\\u001b[2J"'),
        ("authors", "me", '"authors" must be a list of text', 'not "me"'),
        ("authors", [1], '"authors" must be a list of text', "not [1]"),
        ("isolation", [], '"isolation" must be a list of one or more of "process", "thread" and "none"', "not []"),
        ("isolation", ["process", "fork"], '"isolation" must be a list', 'not ["process", "fork"]'),
        ("isolation", [["process"]], '"isolation" must be a list', 'not [["process"]]'),
        ("isolation", "process", '"isolation" must be a list', 'not "process"'),
        ("permissions", {}, '"permissions" must be a list', "not {}"),
        ("thread_safe", "no", '"thread_safe" must be true or false', 'not "no"'),
        ("config_schema", True, '"config_schema" must be an object', "not true"),
        ("license", None, '"license" must be text', "not null"),
    ],
)
def test_invalid_members(member: str, value: Any, rule: str, found: str) -> None:
    """The problem states the member, the rule and the value."""
    manifest, problem = parse_manifest(json.dumps(GOOD | {member: value}).encode())

    assert manifest is None
    assert problem is not None
    assert rule in problem
    assert found in problem


def test_all_invalid_members_are_reported_together() -> None:
    """All problems of a manifest are reported together."""
    _, problem = parse_manifest(b'{"name": "A", "abi": "x", "version": "1.0.0", "license": 3}')

    assert problem is not None
    assert re.findall(r'"(\w+)" must be', problem) == ["name", "abi", "license"]


def test_a_broken_manifest_is_a_problem_of_the_library(compile_plugin: CompilePlugin) -> None:
    """A plugin whose manifest is too large is read without it, and cannot be loaded."""
    source = ECHO.replace('"description": "Answers what it was sent"', f'"description": "{"x" * MAX_SECTION}"')

    info = inspect_library(compile_plugin(source, "large"))
    (problem,) = problems(info)

    assert info.manifest is None
    assert isinstance(problem, ManifestError)
    assert "the manifest is invalid: its size is" in str(problem)


# Versions


def test_versions_are_in_the_order_of_semver() -> None:
    """Versions sort as semver.org specifies, including numbers of any length and invalid versions."""
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
