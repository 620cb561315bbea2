"""The Rust kit, from outside: cargo's own checks, and the libraries that come out of it, called through plain ctypes.

What happens inside of the functions is tested in ``sdk/rust/tests``, which runs here as one case.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import missing

REPOSITORY = Path(__file__).resolve().parents[1]
SDK = REPOSITORY / "sdk" / "rust"
HEADER = REPOSITORY / "sdk" / "c" / "backworks_plugin.h"
LIBRARY = {"win32": "{}.dll", "darwin": "lib{}.dylib"}.get(sys.platform, "lib{}.so")

Cargo = Callable[[Path, Sequence[str]], None]
Build = Callable[[str, str], Path]

#: A plugin with a manifest, of a later edition than the kit's, which may not contain any unsafe code.
STRICT = """
#![forbid(unsafe_code)]
#![deny(warnings)]

use backworks_plugin_sdk::*;

const MANIFEST: &str = include_str!("../manifest.json");

#[derive(Default)]
struct Strict;

#[async_trait]
impl BackworksPlugin for Strict {
    fn name(&self) -> &str { "strict" }
    fn version(&self) -> &str { "2.0.0" }

    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        match request.data() {
            b"panic" => panic!("told to"),
            b"none" => Ok(None),
            data => Ok(Some(Response::new(data).with_content_type("text/plain").with_status(202))),
        }
    }
}

export_plugin!(Strict, MANIFEST);
"""
MANIFEST = '{"abi": 1, "name": "strict", "version": "2.0.0", "license": "MIT"}\n'

PROJECT = """
[package]
name = "{name}"
version = "0.0.1"
edition = "{edition}"

[lib]
crate-type = ["cdylib"]

[dependencies]
backworks-plugin-sdk = {{ path = {sdk} }}

# What is most likely to lose a section that nobody refers to.
[profile.release]
lto = true
strip = true
codegen-units = 1

[workspace]
"""


class Host(ctypes.Structure):
    """``backworks_host``."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("abi_version", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("log", ctypes.c_void_p),
        ("get_extension", ctypes.c_void_p),
    )


class Request(ctypes.Structure):
    """``backworks_request``, as far as it is used here."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("endpoint", ctypes.c_char_p),
        ("endpoint_size", ctypes.c_size_t),
        ("method", ctypes.c_char_p),
        ("method_size", ctypes.c_size_t),
        ("data", ctypes.c_char_p),
        ("data_size", ctypes.c_size_t),
    )


class Response(ctypes.Structure):
    """``backworks_response``."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("http_status", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("content_type", ctypes.c_void_p),
        ("content_type_size", ctypes.c_size_t),
        ("headers", ctypes.c_void_p),
        ("headers_size", ctypes.c_size_t),
    )


@pytest.fixture(scope="session", name="cargo")
def _cargo() -> Cargo:
    """Runs cargo in a directory; fails the test with cargo's words where it does not succeed."""
    command = shutil.which("cargo")
    if command is None:
        missing("Rust's cargo")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(REPOSITORY / "build" / "cargo"), "RUST_BACKTRACE": "0"}

    def run(directory: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )

    fetched = run(SDK, ["fetch", "--locked"])
    if fetched.returncode != 0:
        print(fetched.stdout)
        missing("what cargo fetches")

    def cargo(directory: Path, arguments: Sequence[str]) -> None:
        done = run(directory, arguments)
        if done.returncode != 0:
            pytest.fail(f"cargo {' '.join(arguments)}\n{done.stdout}", pytrace=False)

    return cargo


@pytest.fixture(scope="session", name="build")
def _build(cargo: Cargo, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds a library from the text of its ``lib.rs``: ``build(source, edition) -> path``."""

    def build(source: str, edition: str) -> Path:
        project = tmp_path_factory.mktemp("plugin")
        name = f"backworks_test_{edition}"
        text = PROJECT.format(name=name, edition=edition, sdk=json.dumps(SDK.as_posix()))
        (project / "Cargo.toml").write_text(text, encoding="utf-8")
        (project / "manifest.json").write_text(MANIFEST, encoding="utf-8", newline="\n")
        (project / "src").mkdir()
        (project / "src" / "lib.rs").write_text(source, encoding="utf-8")
        shutil.copy(SDK / "Cargo.lock", project)
        cargo(project, ["build", "--release", "--offline"])
        built = REPOSITORY / "build" / "cargo" / "release" / LIBRARY.format(name)
        return Path(shutil.copy(built, project))

    return build


@pytest.fixture(scope="session", name="example")
def _example(build: Build) -> Path:
    """The example of the README, as it stands there."""
    readme = (SDK / "README.md").read_text(encoding="utf-8")
    match = re.search(r"```rust\n(.*?)```", readme, re.DOTALL)
    assert match is not None
    return build(match[1], "2021")


@pytest.fixture(scope="session", name="strict")
def _strict(build: Build) -> Path:
    """A plugin with a manifest, without unsafe code."""
    return build(STRICT, "2024")


class Plugin:
    """One instance, through ctypes."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        for name in ("name", "version", "description"):
            getattr(self.library, f"backworks_plugin_{name}").restype = ctypes.c_char_p
        self.library.backworks_plugin_free_string.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self.library.backworks_plugin_free_string.restype = None
        self.host = Host(ctypes.sizeof(Host), 1)
        self.instance = ctypes.c_void_p()
        error = Response(ctypes.sizeof(Response))
        init = self.library.backworks_plugin_init
        init.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)
        code = init(ctypes.addressof(self.host), b"{}", 2, ctypes.addressof(self.instance), ctypes.addressof(error))
        assert (code, self.text(error)) == (0, None)

    def text(self, response: Response) -> bytes | None:
        """Copies the data, and frees it."""
        if response.data is None:
            return None
        data = ctypes.string_at(response.data, response.size)
        self.library.backworks_plugin_free_string(response.data, response.size)
        return data

    def call(self, data: bytes) -> tuple[int, int, bytes | None]:
        """Returns code, HTTP status and data."""
        request = Request(ctypes.sizeof(Request), 0, b"/e", 2, b"GET", 3, data, len(data))
        response = Response(ctypes.sizeof(Response))
        process = self.library.backworks_plugin_process_endpoint_data
        code = process(self.instance, ctypes.byref(request), ctypes.byref(response))
        return code, response.http_status, self.text(response)


@pytest.mark.parametrize(
    "command",
    [
        "fmt --check",
        "clippy --locked --all-targets -- -D warnings",
        "clippy --locked --all-targets --features tokio -- -D warnings",
        "test --locked",
        "test --locked --features tokio --test futures --test panics",
        "package --locked --offline --allow-dirty",
    ],
)
def test_cargo_finds_nothing(cargo: Cargo, command: str) -> None:
    """The kit is formatted, free of warnings, passes its own tests, and can be published."""
    cargo(SDK, command.split())


def test_layout_is_that_of_the_header() -> None:
    """The kit asserts the same sizes and offsets as the header, each of them."""

    def found(text: str, pattern: str) -> set[tuple[str, ...]]:
        return {match.groups() for match in re.finditer(pattern, text)}

    header = HEADER.read_text(encoding="utf-8")
    rust = (SDK / "src" / "abi.rs").read_text(encoding="utf-8")
    names = {"RawHost": "host", "RawRequest": "request", "RawResponse": "response", "Manifest<0>": "manifest_header"}
    sizes = found(rust, r"size_of::<([\w<>]+)>\(\) == (\d+)")
    offsets = found(rust, r"offset_of!\(([\w<>]+), (\w+)\) == (\d+)")

    assert found(header, r"sizeof\(backworks_(\w+)\) == (\d+)") == {(names[name], size) for name, size in sizes}
    assert found(header, r"offsetof\(backworks_(\w+), (\w+)\) == (\d+)") == {
        (names[name], field, offset) for name, field, offset in offsets
    }


def test_codes_and_levels_are_those_of_the_header() -> None:
    """The kit knows the same codes by the same numbers and names as the header, and the same levels."""
    header = HEADER.read_text(encoding="utf-8")
    error = (SDK / "src" / "error.rs").read_text(encoding="utf-8")
    host = (SDK / "src" / "host.rs").read_text(encoding="utf-8")
    codes = dict(re.findall(r"BACKWORKS_(\w+) = (\d+)", header.split("enum backworks_code")[1].split("}")[0]))
    levels = dict(re.findall(r"BACKWORKS_(\w+) = (\d+)", header.split("enum backworks_level")[1].split("}")[0]))
    found = re.findall(r'(\w+) = (\d+), "(\w+)", (\w+);', error)

    assert codes.pop("OK") == "0"
    assert {name: number for _, number, name, _ in found} == codes
    assert all(
        name == constructor.upper() == re.sub(r"(?<!^)([A-Z])", r"_\1", variant).upper()
        for variant, _, name, constructor in found
    )
    assert {name.upper(): number for name, number in re.findall(r"    (\w+) = (\d+),", host)} == levels


def test_example_answers(example: Path) -> None:
    """The README's example says who it is, answers, and ends."""
    plugin = Plugin(example)
    library = plugin.library

    assert library.backworks_plugin_abi_version() == 1
    assert library.backworks_plugin_name() == b"my-plugin"
    assert library.backworks_plugin_version() == b"1.0.0"
    assert library.backworks_plugin_description() == b"My awesome plugin"
    assert plugin.call(b"") == (0, 0, b"Plugin response")
    assert plugin.call(b"\xff") == (3, 0, b"the data is not UTF-8: byte 0xff at position 0")
    assert library.backworks_plugin_shutdown(plugin.instance) == 0


def test_example_has_no_manifest(example: Path) -> None:
    """Without a manifest given, none is made up."""
    assert b"BWMANIF1" not in example.read_bytes()


def test_manifest_is_in_its_section(strict: Path) -> None:
    """The manifest survives optimisation and stripping, byte for byte, once, in a section of its name."""
    file = strict.read_bytes()
    start = file.find(b"BWMANIF1")
    size, reserved = struct.unpack_from("=II", file, start + 8)

    assert file.count(b"BWMANIF1") == 1
    assert (size, reserved) == (len(MANIFEST), 0)
    assert file[start + 16 : start + 16 + size] == MANIFEST.encode()
    assert (b"__bworks\0" if sys.platform == "darwin" else b".bworks\0") in file


def test_manifest_is_a_symbol(strict: Path) -> None:
    """The manifest is exported as well, as it is from C."""
    symbol = (ctypes.c_char * 16).in_dll(ctypes.CDLL(str(strict)), "backworks_plugin_manifest")

    assert symbol.raw == struct.pack("=8sII", b"BWMANIF1", len(MANIFEST), 0)


def test_panic_stays_in_the_library(strict: Path) -> None:
    """In an optimised library too, a panic is an error of this one call, and all other answers come out."""
    plugin = Plugin(strict)
    answers = [plugin.call(data) for data in (b"panic", b"none", b"", b"a\0\xff")]
    code = plugin.library.backworks_plugin_shutdown(plugin.instance)

    assert answers == [(13, 0, b"panicked: told to"), (0, 0, None), (0, 202, b""), (0, 202, b"a\0\xff")]
    assert code == 0
