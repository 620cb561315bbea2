"""Finding plugins in directories without loading them, and finding the file for a path or stem."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ECHO, LIBRARY, CompilePlugin
from cross import TARGETS, cross_compile

from backworks.errors import (
    ManifestError,
    MissingSymbolsError,
    NotALibraryError,
    PluginLoadError,
    PluginNotFound,
    WrongPlatformError,
)
from backworks.loading import paths
from backworks.loading.discovery import DiscoveredPlugin, PluginDiscovery
from backworks.loading.paths import resolve_library

links = pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege on Windows")

_MACRO = 'BACKWORKS_PLUGIN(NAME, VERSION, "description": "Answers what it was sent")'


def _names(found: tuple[DiscoveredPlugin, ...]) -> list[str]:
    return [plugin.path.name for plugin in found]


def test_a_plugin_is_listed_as_its_manifest_says(compile_plugin: CompilePlugin) -> None:
    """Name, version and description come from the manifest, whatever the file's name."""
    path = compile_plugin(ECHO, "other", ['-DNAME="weather"', '-DVERSION="2.0.0-rc.1"'])

    (plugin,) = PluginDiscovery([path.parent]).scan()

    assert (plugin.name, plugin.version, plugin.description) == ("weather", "2.0.0-rc.1", "Answers what it was sent")
    assert plugin.path == path
    assert plugin.loadable
    assert plugin.problems == ()
    assert plugin.note is None


def test_a_library_that_would_kill_the_process_is_listed_safely(compile_plugin: CompilePlugin) -> None:
    """A plugin whose constructor aborts is listed like any other, because none of its code runs; loading it aborts."""
    constructor = "__attribute__((constructor)) static void start(void) { abort(); }"
    path = compile_plugin(f"{ECHO}\n{constructor}", "aborts")

    (plugin,) = PluginDiscovery([path.parent]).scan()
    loading = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(path)!r})"], capture_output=True, check=False
    )

    assert plugin.loadable
    assert loading.returncode != 0


def test_a_plugin_without_a_manifest_is_listed_by_its_file(compile_plugin: CompilePlugin) -> None:
    """Without a manifest, the name comes from the file and the version is unknown, as a note explains."""
    path = compile_plugin(ECHO.replace(_MACRO, "BACKWORKS_PLUGIN_IDENTITY(NAME, VERSION)"), "plain")

    (plugin,) = PluginDiscovery([path.parent]).scan()

    assert (plugin.name, plugin.version, plugin.description) == ("plain", None, None)
    assert plugin.loadable
    assert "no manifest" in str(plugin.note)


def test_a_plugin_with_a_broken_manifest_is_listed_with_the_problem(compile_plugin: CompilePlugin) -> None:
    """A plugin with an invalid manifest is listed under its file's name, with the reason."""
    path = compile_plugin(ECHO, "broken", ['-DNAME="Two Words"'])

    (plugin,) = PluginDiscovery([path.parent]).scan()
    (problem,) = plugin.problems

    assert (plugin.name, plugin.note) == ("broken", None)
    assert isinstance(problem, ManifestError)
    assert not plugin.loadable


def test_a_library_with_nothing_of_a_plugin_is_left_out(
    compile_plugin: CompilePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    """A dependency beside the plugins is not listed; only the debug log mentions it."""
    caplog.set_level(logging.DEBUG)
    source = "#include <backworks_plugin.h>\nBACKWORKS_EXPORT int help(void);\nint help(void) { return 1; }"
    path = compile_plugin(source, "dependency")

    assert PluginDiscovery([path.parent]).scan() == ()
    assert [(record.levelname, str(path) in record.getMessage()) for record in caplog.records] == [("DEBUG", True)]


def test_a_library_with_some_of_a_plugin_is_listed_with_what_is_missing(compile_plugin: CompilePlugin) -> None:
    """An incomplete plugin is listed, so that its author learns which symbols are missing."""
    path = compile_plugin("#include <backworks_plugin.h>\nBACKWORKS_PLUGIN_FREE_STRING", "half")

    ((problem,),) = [plugin.problems for plugin in PluginDiscovery([path.parent]).scan()]

    assert isinstance(problem, MissingSymbolsError)


def test_files_that_are_no_libraries_are_listed_with_what_they_are(tmp_path: Path) -> None:
    """A file named like a library that is not one is listed with the reason; other files are ignored."""
    for name in ("empty.so", "libtext.dylib", "UPPER.DLL", "notes.txt", "libversioned.so.1", ".hidden.so"):
        (tmp_path / name).write_text("" if name == "empty.so" else "text", encoding="utf-8")
    (tmp_path / "directory.so").mkdir()

    found = PluginDiscovery([tmp_path]).scan()

    assert [(plugin.name, plugin.version, plugin.info) for plugin in found] == [
        ("UPPER", None, None),
        ("empty", None, None),
        ("text", None, None),
    ]
    assert all(isinstance(problem, NotALibraryError) for plugin in found for problem in plugin.problems)
    assert not any(plugin.loadable or plugin.note for plugin in found)


def test_one_plugin_for_many_systems_is_listed_for_each(tmp_path: Path) -> None:
    """Builds of a plugin for other systems are listed under the same name, each with the reason why it cannot load."""
    for target in TARGETS:
        (tmp_path / f"{target}.so").write_bytes(cross_compile(target))

    found = PluginDiscovery([tmp_path]).scan()

    assert _names(found) == sorted(f"{target}.so" for target in TARGETS)
    assert {plugin.name for plugin in found} == {"echo"}
    foreign = [plugin for plugin in found if not plugin.loadable]
    assert len(foreign) >= len(TARGETS) - 1
    assert all(isinstance(plugin.problems[0], WrongPlatformError) for plugin in foreign)


def test_directories_come_in_the_order_given_and_files_in_that_of_their_names(tmp_path: Path) -> None:
    """Plugins are sorted by directory and then by name, and a directory given twice is read once."""
    for directory, name in (("b", "2.so"), ("b", "1.so"), ("a", "3.so")):
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / name).write_bytes(b"")

    found = PluginDiscovery([tmp_path / "b", str(tmp_path / "a"), tmp_path / "a" / ".." / "b"]).scan()

    assert _names(found) == ["1.so", "2.so", "3.so"]


def test_only_a_recursive_search_looks_below(tmp_path: Path) -> None:
    """Subdirectories are searched on request, after the files beside them; hidden ones never are."""
    for name in ("z.so", "a/y.so", "a/b/x.so", "c/w.so", ".git/v.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    assert _names(PluginDiscovery([tmp_path]).scan()) == ["z.so"]
    assert _names(PluginDiscovery([tmp_path], recursive=True).scan()) == ["z.so", "y.so", "x.so", "w.so"]


@links
def test_links_in_circles_end(tmp_path: Path) -> None:
    """A link to a directory is followed once, even in a cycle; a file is listed once, however many links it has."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "in" / "out").symlink_to(tmp_path / "out", target_is_directory=True)
    (tmp_path / "out" / "real.so").write_bytes(b"")
    (tmp_path / "in" / "alias.so").symlink_to(tmp_path / "out" / "real.so")

    found = PluginDiscovery([tmp_path / "in"], recursive=True).scan()

    assert _names(found) == ["alias.so"]


@links
def test_links_to_nothing_are_listed_with_their_problem(tmp_path: Path) -> None:
    """A broken link and a link to itself are listed, and the search continues."""
    (tmp_path / "circle.so").symlink_to(tmp_path / "circle.so")
    (tmp_path / "dangling.so").symlink_to(tmp_path / "gone.so")
    (tmp_path / "text.so").write_bytes(b"text")

    found = PluginDiscovery([tmp_path]).scan()

    assert _names(found) == ["circle.so", "dangling.so", "text.so"]
    assert [type(plugin.problems[0]) for plugin in found] == [PluginLoadError, PluginNotFound, NotALibraryError]


def test_a_directory_that_is_not_there_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A missing directory, or a file in place of one, logs a warning, and the search continues."""
    (tmp_path / "text.so").write_bytes(b"text")

    found = PluginDiscovery([tmp_path / "absent", tmp_path / "text.so", tmp_path]).scan()

    assert _names(found) == ["text.so"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert str(tmp_path / "absent") in caplog.text


def test_a_thousand_plugins_are_listed(compile_plugin: CompilePlugin, tmp_path: Path) -> None:
    """All 1,000 plugins of a large directory are listed."""
    library = compile_plugin().read_bytes()
    for number in range(1000):
        (tmp_path / f"lib{number:04}.so").write_bytes(library)

    found = PluginDiscovery([tmp_path]).scan()

    assert len(found) == 1000
    assert len({plugin.path for plugin in found}) == 1000
    assert all(plugin.loadable for plugin in found)


# From a path or a stem to a file


def test_a_stem_is_resolved_to_the_file_of_this_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path without suffix finds the library, with or without "lib"; a full path is used unchanged."""
    monkeypatch.chdir(tmp_path)
    usual = tmp_path / LIBRARY.format("weather.v2")
    usual.write_bytes(b"")
    plain = tmp_path / f"rain{usual.suffix}"
    plain.write_bytes(b"")
    (tmp_path / "no-suffix").write_bytes(b"")

    assert resolve_library("weather.v2") == usual
    assert resolve_library(Path("./weather.v2")) == usual
    assert resolve_library(tmp_path / "rain") == plain
    assert resolve_library(usual) == usual
    assert resolve_library(tmp_path / "no-suffix") == tmp_path / "no-suffix"


def test_the_usual_name_comes_before_the_other(tmp_path: Path) -> None:
    """If both names exist, the one that compilers use takes precedence; a directory of that name does not hide it."""
    suffix = Path(LIBRARY.format("x")).suffix
    for name in (f"libweather{suffix}", f"weather{suffix}"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "weather").mkdir()

    assert resolve_library(tmp_path / "weather").name == LIBRARY.format("weather")


def test_what_is_not_found_is_told_with_all_that_was_looked_for(tmp_path: Path) -> None:
    """The error names each file that was tried."""
    suffix = Path(LIBRARY.format("x")).suffix

    with pytest.raises(PluginNotFound) as caught:
        resolve_library(tmp_path / "weather")

    assert f"{tmp_path / 'weather'}: the file does not exist" in str(caught.value)
    assert f"libweather{suffix}" in str(caught.value)
    assert f" weather{suffix}" in str(caught.value)
    assert "another system" not in str(caught.value)


def test_a_library_for_another_system_is_mentioned(tmp_path: Path) -> None:
    """If only a library for another system exists, the error mentions it."""
    foreign = "weather.dll" if sys.platform != "win32" else "libweather.so"
    (tmp_path / foreign).write_bytes(b"")

    for asked in ("weather", LIBRARY.format("weather")):
        with pytest.raises(PluginNotFound, match=rf"found {foreign} for another system: build the plugin"):
            resolve_library(tmp_path / asked)


def test_a_directory_is_no_library(tmp_path: Path) -> None:
    """The error for a directory says so, also for the root and for a directory named like a library."""
    (tmp_path / "weather.so").mkdir()

    for path in (tmp_path, tmp_path / "weather.so", Path(tmp_path.anchor)):
        with pytest.raises(PluginNotFound, match="is a directory"):
            resolve_library(path)


def test_an_impossible_name_is_not_found() -> None:
    """A name with a NUL character, which no file can have, raises PluginNotFound."""
    with pytest.raises(PluginNotFound):
        resolve_library("plugins/a\0b")


@pytest.mark.parametrize(
    ("suffixes", "names"),
    [
        ((".so",), ["libx.so", "x.so"]),
        ((".dylib", ".so"), ["libx.dylib", "x.dylib", "libx.so", "x.so"]),
        ((".dll",), ["x.dll", "libx.dll"]),
    ],
    ids=["linux", "macos", "windows"],
)
def test_each_system_has_its_names(
    suffixes: tuple[str, ...], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each system's own file names are tried, the usual one first."""
    monkeypatch.setattr(paths, "_SUFFIXES_HERE", suffixes)

    for name in reversed(names):
        (tmp_path / name).write_bytes(b"")
        assert resolve_library(tmp_path / "x").name == name
    shutil.rmtree(tmp_path)
    with pytest.raises(PluginNotFound, match=" or ".join(names)):
        resolve_library(tmp_path / "x")
