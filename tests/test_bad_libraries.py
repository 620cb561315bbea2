"""Files that cannot be loaded as plugins: the exception, its message, and a host that keeps working.

Each row creates a real file. After each, a working plugin is loaded and called in the same process.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ECHO, LIBRARY, CompilePlugin

import backworks
from backworks.ffi.contract import REQUIRED_SYMBOLS

Make = Callable[[CompilePlugin, Path], Path]

_MACRO = 'BACKWORKS_PLUGIN(NAME, VERSION, "description": "Answers what it was sent")'


def _file(content: bytes) -> Make:
    def make(_compile: CompilePlugin, directory: Path) -> Path:
        path = directory / LIBRARY.format("bad")
        path.write_bytes(content)
        return path

    return make


def _changed(change: Callable[[bytes], bytes]) -> Make:
    return lambda compile_plugin, directory: _file(change(compile_plugin().read_bytes()))(compile_plugin, directory)


def _source(old: str, new: str, name: str) -> Make:
    return lambda compile_plugin, _directory: compile_plugin(ECHO.replace(old, new), name)


def _identity(abi: str = "1", name: str = '"echo"', version: str = '"1.0.0"', manifest: str = "") -> Make:
    """Returns a maker of a plugin with the given functions and manifest."""
    source = f"""
        uint32_t backworks_plugin_abi_version(void) {{ return {abi}; }}
        const char *backworks_plugin_name(void) {{ return {name}; }}
        const char *backworks_plugin_version(void) {{ return {version}; }}
        {manifest and f"BACKWORKS_PLUGIN_MANIFEST({manifest})"}"""
    label = f"identity{zlib.crc32(source.encode())}"
    return lambda compile_plugin, _directory: compile_plugin(ECHO.replace(_MACRO, source), label)


def _manifest(text: str, **identity: str) -> Make:
    return _identity(manifest='"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"', **identity)


def _libz(_compile: CompilePlugin, _directory: Path) -> Path:
    """Returns the zlib of this process, or a module of the standard library if it is not found."""
    maps = Path("/proc/self/maps")
    if maps.exists() and (found := re.search(r"/\S*libz\.so\S*", maps.read_text(encoding="utf-8"))):
        return Path(found[0])
    import _ctypes

    return Path(_ctypes.__file__)


def _without(symbol: str) -> Make:
    """Returns a maker of a plugin in which one function is renamed, so that its symbol is missing."""
    return lambda compile_plugin, _directory: compile_plugin(ECHO, symbol, [f"-D{symbol}=not_{symbol}"])


def _helper(compile_plugin: CompilePlugin) -> Path:
    """Compiles a library that is not a plugin, as a dependency."""
    source = "#include <backworks_plugin.h>\nBACKWORKS_EXPORT int help(void);\nint help(void) { return 1; }"
    return compile_plugin(source, "helper")


def _dependent(compile_plugin: CompilePlugin, directory: Path) -> Path:
    """Compiles a plugin that needs the helper beside it, in a separate directory."""
    source = ECHO.replace("  (void)plugin;\n", "  extern int help(void);\n  (void)plugin;\n  (void)help();\n")
    flags = [str(_helper(compile_plugin))]
    if sys.platform != "win32":
        flags = [
            f"-L{_helper(compile_plugin).parent}",
            "-lhelper",
            "-Wl,-rpath,$ORIGIN",
            "-Wl,-rpath,@loader_path",
        ]
    copy = directory / LIBRARY.format("dependent")
    copy.write_bytes(compile_plugin(source, "dependent", flags).read_bytes())
    return copy


_ELF_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="changes a byte of the ELF header")

BAD = [
    pytest.param(lambda c, d: d / "absent.so", backworks.PluginNotFound, "the file does not exist", id="missing file"),
    pytest.param(lambda c, d: d / "absent", backworks.PluginNotFound, "nor does .*absent", id="missing stem"),
    pytest.param(lambda c, d: d, backworks.PluginNotFound, "is a directory", id="directory"),
    pytest.param(_file(b""), backworks.NotALibraryError, "empty", id="empty file"),
    pytest.param(_file(b"#!/bin/sh\necho no\n"), backworks.NotALibraryError, "#!/bin/sh", id="text file"),
    pytest.param(_changed(lambda b: b[: len(b) // 2]), backworks.NotALibraryError, "truncated", id="truncated"),
    pytest.param(_changed(lambda b: b[:30]), backworks.NotALibraryError, "truncated|bytes", id="header alone"),
    pytest.param(
        _changed(lambda b: b[:18] + (b"\xb7\0" if b[18:20] == b"\x3e\0" else b"\x3e\0") + b[20:]),
        backworks.WrongPlatformError,
        "built for linux (aarch64|x86_64); this host needs",
        id="other processor",
        marks=_ELF_ONLY,
    ),
    pytest.param(
        _changed(lambda b: b[:7] + b"\x09" + b[8:]),
        backworks.WrongPlatformError,
        "freebsd",
        id="other system",
        marks=_ELF_ONLY,
    ),
    pytest.param(_libz, backworks.MissingSymbolsError, "not a plugin", id="libz"),
    *(
        pytest.param(_without(symbol), backworks.MissingSymbolsError, symbol, id=f"no {symbol}")
        for symbol in REQUIRED_SYMBOLS
    ),
    *(
        pytest.param(
            _identity(abi=str(abi)),
            backworks.AbiVersionError,
            f"ABI version {abi}",
            id=f"ABI {abi}",
        )
        for abi in ("0", "2", "4294967295")
    ),
    pytest.param(
        _manifest('{"name": "echo", "version": "1.0.0", "abi": 2}'),
        backworks.AbiVersionError,
        "ABI version 2",
        id="ABI 2 in the manifest",
    ),
    pytest.param(_identity(name="NULL"), backworks.IdentityError, r"name\(\) must .*, not NULL", id="NULL name"),
    pytest.param(_identity(name=r'"\xff"'), backworks.IdentityError, r"b'\\xff'", id="name not UTF-8"),
    pytest.param(_identity(name='"Two Words"'), backworks.IdentityError, "'Two Words'", id="name not allowed"),
    pytest.param(_identity(version='""'), backworks.IdentityError, r"version\(\) must return", id="empty version"),
    pytest.param(_manifest("{not json}"), backworks.ManifestError, "not JSON", id="manifest not JSON"),
    pytest.param(_manifest("[]"), backworks.ManifestError, "not an object", id="manifest a list"),
    pytest.param(
        _manifest('{"name": "echo", "version": "1.0.0", "abi": 1, "x": "' + "y" * 262_144 + '"}'),
        backworks.ManifestError,
        "the limit is 262144",
        id="manifest too large",
    ),
    pytest.param(
        _manifest('{"name": "other", "version": "1.0.0", "abi": 1}'),
        backworks.ManifestError,
        r"name\(\) returns 'echo', but the manifest has 'other'",
        id="manifest against name()",
    ),
    pytest.param(
        _manifest('{"name": "echo", "version": "9.0.0", "abi": 1}'),
        backworks.ManifestError,
        r"version\(\) returns '1.0.0', but the manifest has '9.0.0'",
        id="manifest against version()",
    ),
    pytest.param(
        _source(
            "*out = plugin;",
            'free(plugin);\n  (void)out;\n  return backworks_fail(error, BACKWORKS_UNAVAILABLE, "sea is down");',
            "failing",
        ),
        backworks.PluginInitError,
        "^echo: UNAVAILABLE: sea is down$",
        id="init fails with a message",
    ),
    pytest.param(
        _source("*out = plugin;", "free(plugin);\n  (void)out;\n  return BACKWORKS_INTERNAL;", "silent"),
        backworks.PluginInitError,
        "^echo: INTERNAL$",
        id="init fails without a message",
    ),
    pytest.param(
        _source("*out = plugin;", "free(plugin);\n  (void)out;", "nullinstance"),
        backworks.PluginContractError,
        "init returned OK with a NULL instance",
        id="init without an instance",
    ),
    pytest.param(
        _source(
            "*out = plugin;",
            "free(plugin);\n  (void)out;\n  error->size = 5;\n  return BACKWORKS_INTERNAL;",
            "nullmessage",
        ),
        backworks.PluginContractError,
        "init: the answer's data is NULL with a size of 5",
        id="init with a broken message",
    ),
    pytest.param(_dependent, backworks.LinkError, "dynamic linker cannot load it", id="missing dependency"),
]


@pytest.mark.parametrize(("make", "error", "text"), BAD)
def test_bad_library(
    make: Make,
    error: type[backworks.BackworksError],
    text: str,
    compile_plugin: CompilePlugin,
    tmp_path: Path,
) -> None:
    """A bad library raises its exception with one sentence about the user's file, and the host keeps working."""
    path = make(compile_plugin, tmp_path)

    with pytest.raises(error, match=text) as caught:
        backworks.load(path)

    assert "\n" not in str(caught.value)
    if isinstance(caught.value, backworks.PluginLoadError):
        assert caught.value.path == str(path)
        assert str(path) in str(caught.value)
    with backworks.load(compile_plugin()) as good:
        assert good.process_endpoint_data("/", "GET", "on") == "on"


def test_missing_symbols_are_listed(compile_plugin: CompilePlugin) -> None:
    """The exception lists all missing symbols."""
    with pytest.raises(backworks.MissingSymbolsError) as caught:
        backworks.load(_libz(compile_plugin, Path()))

    assert set(caught.value.symbols) == set(REQUIRED_SYMBOLS)


def test_no_manifest(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """A plugin without a manifest can be loaded."""
    with backworks.load(_identity()(compile_plugin, tmp_path)) as plugin:
        assert plugin.manifest is None
        assert plugin.name == "echo"


def test_dependency_beside_it(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """A dependency beside the plugin is found, although the host opens a copy of the plugin."""
    path = _dependent(compile_plugin, tmp_path)
    helper = _helper(compile_plugin)
    (tmp_path / helper.name).write_bytes(helper.read_bytes())

    with backworks.load(path) as plugin:
        assert plugin.process_endpoint_data("/", "GET", "linked") == "linked"


@pytest.mark.parametrize("name", ["my-plugin", "libmy-plugin.so", "my_plugn", "My-Plugin"])
def test_similar_name(name: str, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """A file with a similar name is suggested, such as the one that cargo makes of a crate with a hyphen."""
    made = tmp_path / LIBRARY.format("my_plugin")
    made.write_bytes(compile_plugin().read_bytes())
    with pytest.raises(backworks.PluginNotFound) as caught:
        backworks.load(tmp_path / name)

    assert str(caught.value).endswith(f"; did you mean {made.name}?")


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0byte"])
def test_impossible_name(name: str, tmp_path: Path) -> None:
    """An invalid file name is treated as a missing file."""
    with pytest.raises(backworks.PluginNotFound):
        backworks.load(tmp_path / name)
