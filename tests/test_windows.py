"""Behaviour specific to Windows: the DLL search path, locked files, file names, and job limits."""

from __future__ import annotations

import os
import sys
import time
import zlib
from pathlib import Path

import pytest
from conftest import ECHO, PATIENCE, CompilePlugin
from unruly import CHILD, UNRULY, is_alive

import backworks
from backworks import LinkError, PluginUnavailable
from backworks.ffi import binding_named
from backworks.loading.private import private_directory
from backworks.settings import Limits

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="Windows alone does this")

ISOLATIONS = ["none", "thread", "process"]


@pytest.fixture(name="dependent")
def _dependent(request: pytest.FixtureRequest, compile_plugin: CompilePlugin, tmp_path: Path) -> Path:
    """Compiles a plugin that needs a DLL in another directory.

    Each test has a different DLL, because Windows does not search for a DLL whose name is already loaded.
    """
    name = f"helper{zlib.crc32(request.node.name.encode())}"
    source = "#include <backworks_plugin.h>\nBACKWORKS_EXPORT int help(void);\nint help(void) { return 1; }"
    helper = compile_plugin(source, name)
    needs = ECHO.replace("  (void)plugin;\n", "  extern int help(void);\n  (void)plugin;\n  (void)help();\n")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / helper.name).write_bytes(helper.read_bytes())
    plugin = tmp_path / "plugins" / "dependent.dll"
    plugin.write_bytes(compile_plugin(needs, "dependent", [str(helper)]).read_bytes())
    return plugin


@pytest.mark.parametrize("name", ["native", "cffi", "ctypes"])
@pytest.mark.parametrize("place", ["PATH", "the current directory"])
def test_no_search(dependent: Path, name: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's DLL is not loaded from a directory where anyone could have put one."""
    elsewhere = dependent.parent.parent / "elsewhere"
    if place == "PATH":
        monkeypatch.setenv("PATH", str(elsewhere), prepend=os.pathsep)
    else:
        monkeypatch.chdir(elsewhere)

    with pytest.raises(OSError, match="dependent.dll"):
        binding_named(name).open(str(dependent))


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_not_found(dependent: Path, isolation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the user's file, with any isolation; with the DLL beside it, the plugin is loaded."""
    monkeypatch.chdir(dependent.parent.parent / "elsewhere")
    with pytest.raises(LinkError, match="the dynamic linker cannot load it") as caught:
        backworks.load(dependent, isolation=isolation)

    assert str(caught.value).startswith(str(dependent))
    assert private_directory().name not in str(caught.value)
    (helper,) = Path().iterdir()
    (dependent.parent / helper.name).write_bytes(helper.read_bytes())
    with backworks.load(dependent, isolation=isolation) as plugin:
        assert plugin.process_endpoint_data("/", data="found") == "found"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_file_is_free(compile_plugin: CompilePlugin, tmp_path: Path, isolation: str) -> None:
    """The file of a loaded plugin can be replaced and removed, because only its private copy is locked."""
    file = tmp_path / "echo.dll"
    file.write_bytes(compile_plugin().read_bytes())
    with backworks.load(file, isolation=isolation) as plugin:
        copies = list(private_directory().glob("*/echo.dll"))
        file.write_bytes(b"something else")
        file.unlink()

        assert plugin.process_endpoint_data("/", data="still here") == "still here"
        for copy in copies:
            with pytest.raises(PermissionError):
                copy.write_bytes(b"something else")


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("name", ["with spaces", "Größe und Maß", "天気予報"])
def test_names(compile_plugin: CompilePlugin, tmp_path: Path, isolation: str, name: str) -> None:
    """Directories and files may have any name that Windows allows."""
    file = tmp_path / name / f"{name}.dll"
    file.parent.mkdir()
    file.write_bytes(compile_plugin().read_bytes())

    with backworks.load(file, isolation=isolation) as plugin:
        assert plugin.process_endpoint_data("/", data=name) == name


@pytest.mark.parametrize("binding_name", ["native", "cffi", "ctypes"])
def test_names_of_bindings(compile_plugin: CompilePlugin, tmp_path: Path, binding_name: str) -> None:
    """Every binding opens a library with letters of several scripts in its name."""
    file = tmp_path / "größe 天気.dll"
    file.write_bytes(compile_plugin().read_bytes())

    assert binding_named(binding_name).open(str(file)).name() == b"echo"


class TestJob:
    """Processes that a worker starts end with it."""

    def test_close(self, compile_plugin: CompilePlugin) -> None:
        """A process that the plugin leaves behind ends when the plugin is closed."""
        with backworks.load(compile_plugin(UNRULY, "unruly"), isolation="process") as plugin:
            child = int(plugin.process_endpoint_data("/", data="!daemon" + CHILD) or 0)
            alive = is_alive(child)

        assert alive
        until = time.monotonic() + PATIENCE
        while is_alive(child):
            assert time.monotonic() < until

    def test_processes(self, compile_plugin: CompilePlugin) -> None:
        """A plugin that may have no other process cannot start one."""
        limits = Limits(processes=1)
        with backworks.load(compile_plugin(UNRULY, "unruly"), isolation="process", limits=limits) as plugin:
            assert int(plugin.process_endpoint_data("/", data="!child" + CHILD) or 0) < 0

    def test_open_files(self, compile_plugin: CompilePlugin) -> None:
        """A limit that Windows does not support is an error that names it; it is not ignored."""
        with pytest.raises(PluginUnavailable, match="limits.open_files: the system cannot set this limit: ") as caught:
            backworks.load(compile_plugin(), isolation="process", limits=Limits(open_files=8))

        assert "nknown error" not in str(caught.value)
