"""Plugins by name, and the rules for files with the same name."""

from __future__ import annotations

import ctypes
import itertools
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bundles import FROM_LINKED, build_dependency, build_plugin, posix_only
from conftest import ECHO, LIBRARY, PATIENCE, CompilePlugin
from cross import cross_compile

import backworks
from backworks.config.load import as_config
from backworks.config.plugins import check_plugins
from backworks.errors import LinkError, PluginStateError, WrongPlatformError
from backworks.loading.discovery import DiscoveredPlugin, PluginDiscovery
from backworks.loading.registry import PluginRegistry

if TYPE_CHECKING:
    from backworks.settings import Isolation

name_is_unique = pytest.mark.skipif(
    sys.platform in {"darwin", "win32"}, reason="macOS distinguishes paths; on Windows the compiler's flags differ"
)


def _plugin(path: str, version: str | None = "1.0.0", name: str = "echo", *, loadable: bool = True) -> DiscoveredPlugin:
    """Creates a plugin as discovery returns it."""
    problems = () if loadable else (WrongPlatformError(f"{path}: built for another", path=path),)
    return DiscoveredPlugin(name, version, None, Path(path), None, problems)


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_plugins_are_known_by_name() -> None:
    """A plugin is found by its name; iteration and names are sorted."""
    registry = PluginRegistry()
    for name in ("weather", "echo"):
        registry.add(_plugin(f"/plugins/lib{name}.so", name=name))

    assert registry.get("weather").path == Path("/plugins/libweather.so")
    assert registry.names() == ("echo", "weather")
    assert [plugin.name for plugin in registry] == ["echo", "weather"]
    assert (len(registry), "echo" in registry, "rain" in registry) == (2, True, False)
    assert registry.shadowed("echo") == registry.shadowed("rain") == ()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """The error for an unknown plugin suggests similar names, or lists all names."""
    registry = PluginRegistry()
    with pytest.raises(PluginStateError, match=r"there is no plugin 'x'; no plugins were found"):
        registry.get("x")
    for name in ("weather", "echo"):
        registry.add(_plugin(f"/plugins/lib{name}.so", name=name))

    with pytest.raises(PluginStateError, match=r"there is no plugin 'wether'; did you mean 'weather'\?"):
        registry.get("wether")
    with pytest.raises(PluginStateError, match=r"there is no plugin 'rain'; expected one of echo, weather") as caught:
        registry.get("rain")
    assert caught.value.plugin == "rain"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_higher_version_wins_in_any_order(order: tuple[int, ...], caplog: pytest.LogCaptureFixture) -> None:
    """The highest version by semver's order is used; a warning names each file that is not."""
    plugins = [_plugin("/a.so", "1.9.0"), _plugin("/b.so", "1.10.0"), _plugin("/c.so", "1.10.0-rc.1")]
    registry = PluginRegistry()
    for index in order:
        registry.add(plugins[index])

    assert registry.get("echo") == plugins[1]
    assert registry.shadowed("echo") == (plugins[2], plugins[0])
    warnings = _warnings(caplog)
    assert len(warnings) == 2
    assert all("because its version is higher" in warning for warning in warnings)


def test_a_plugin_without_a_version_comes_last() -> None:
    """A file without a manifest has no version, so any file with a version takes precedence."""
    registry = PluginRegistry()
    registry.add(_plugin("/plain.so", None))
    registry.add(_plugin("/a.so", "0.0.0-alpha"))

    assert registry.get("echo").path == Path("/a.so")


def test_of_equal_versions_the_first_directory_wins(caplog: pytest.LogCaptureFixture) -> None:
    """Of equal versions, ignoring build metadata, the first is used, and one warning names both files."""
    registry = PluginRegistry()
    registry.add(_plugin("/first/echo.so", "1.0.0+a"))
    registry.add(_plugin("/second/echo.so", "1.0.0+b"))

    assert registry.get("echo").path == Path("/first/echo.so")
    (warning,) = _warnings(caplog)
    assert warning == (
        f"two files contain plugin 'echo': using {Path('/first/echo.so')} (version 1.0.0+a) instead of "
        f"{Path('/second/echo.so')} (version 1.0.0+b) because it was found first"
    )


@pytest.mark.parametrize("explicit_first", [True, False])
def test_an_explicit_path_wins_over_everything(explicit_first: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The file that the configuration names is used, even if it is older or cannot be loaded."""
    for loadable in (True, False):
        caplog.clear()
        registry = PluginRegistry()
        entries = [(_plugin("/named.so", "1.0.0", loadable=loadable), True), (_plugin("/found.so", "2.0.0"), False)]
        for plugin, explicit in entries if explicit_first else reversed(entries):
            registry.add(plugin, explicit=explicit)

        assert registry.get("echo").path == Path("/named.so")
        (warning,) = _warnings(caplog)
        assert "because the configuration names its path" in warning


@pytest.mark.parametrize("foreign_first", [True, False])
def test_a_file_for_another_system_is_no_rival(foreign_first: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A file that loads takes precedence over one that does not, whatever its version, without a warning."""
    registry = PluginRegistry()
    plugins = [_plugin("/echo.dll", "9.0.0", loadable=False), _plugin("/libecho.so", "1.0.0")]
    for plugin in plugins if foreign_first else reversed(plugins):
        registry.add(plugin)
    registry.add(_plugin("/libecho.dylib", "9.0.0", loadable=False))

    assert registry.get("echo").path == Path("/libecho.so")
    assert len(registry.shadowed("echo")) == 2
    assert _warnings(caplog) == []


def test_a_plugin_that_loads_nowhere_here_is_known_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """A file with problems is registered if there is no better one, so that its problems can be reported."""
    registry = PluginRegistry()
    registry.add(_plugin("/echo.dll", loadable=False))
    registry.add(_plugin("/echo.dylib", loadable=False))

    assert not registry.get("echo").loadable
    assert _warnings(caplog) == []


def test_a_file_that_is_added_again_replaces_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Adding a file again updates its candidate, which stays explicit if it was."""
    registry = PluginRegistry()
    registry.add(_plugin(str(tmp_path / "echo.so"), "1.0.0"), explicit=True)
    registry.add(_plugin(str(tmp_path / "below" / ".." / "echo.so"), "1.1.0"))
    registry.add(_plugin("/other.so", "2.0.0"))

    assert registry.get("echo").version == "1.1.0"
    assert len(registry.shadowed("echo")) == 1
    assert len(_warnings(caplog)) == 1


def test_real_files_are_ranked_as_they_are_found(
    compile_plugin: CompilePlugin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Among builds for several systems in two directories, the newest one for this system is used."""
    suffix = compile_plugin().suffix
    foreign = "x86_64-windows-gnu" if sys.platform != "win32" else "x86_64-macos"
    for directory, version in (("old", "1.2.0"), ("new", "1.10.0")):
        (tmp_path / directory).mkdir()
        library = compile_plugin(ECHO, "echo", [f'-DVERSION="{version}"'])
        (tmp_path / directory / f"libecho{suffix}").write_bytes(library.read_bytes())
        (tmp_path / directory / "foreign.so").write_bytes(cross_compile(foreign, ('-DVERSION="3.0.0"',)))

    registry = PluginRegistry()
    for plugin in PluginDiscovery([tmp_path / "old", tmp_path / "new"]).scan():
        registry.add(plugin)

    assert registry.get("echo").path == tmp_path / "new" / f"libecho{suffix}"
    (warning,) = _warnings(caplog)
    assert str(tmp_path / "old") in warning
    assert str(tmp_path / "new") in warning


def test_many_threads_may_use_it_at_once() -> None:
    """Sixteen threads add and read plugins; none is lost, and the rules hold."""
    registry = PluginRegistry()
    barrier = threading.Barrier(16)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait(timeout=PATIENCE)
            for version in range(25):
                registry.add(_plugin(f"/{number}/{version}.so", f"1.{version}.{number}", name=f"p{version}"))
                assert registry.get(f"p{version}").name in registry.names()
                assert len(list(registry)) <= 25
        except BaseException as failure:  # of a thread; the test raises it
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)

    assert failures == []
    assert len(registry) == 25
    for version in range(25):
        assert registry.get(f"p{version}").version == f"1.{version}.15"
        assert len(registry.shadowed(f"p{version}")) == 15


class TestOneProcess:
    """Plugins in the host's process that bring along different libraries of the same name."""

    @pytest.fixture(name="both")
    def _both(self, cc: list[str], tmp_path: Path) -> list[Path]:
        """Two plugins, each with its own dependency."""
        return [self._plugin(cc, tmp_path, name) for name in ("first", "second")]

    @staticmethod
    def _plugin(cc: list[str], directory: Path, name: str) -> Path:
        dependency = build_dependency(cc, directory / name / "lib", name, name="libboth.so")
        source = FROM_LINKED.replace('"echo"', f'"{name}"')
        return build_plugin(cc, directory / name / LIBRARY.format(name), source, ["lib"], dependency.parent)

    @name_is_unique
    @pytest.mark.parametrize("isolation", ["none", "thread"])
    def test_refused(self, both: list[Path], isolation: Isolation) -> None:
        """The second plugin is refused with both files and the remedy, instead of silently using the first one's."""
        first, second = both
        with backworks.load(first, isolation=isolation) as plugin:
            with pytest.raises(LinkError, match="use isolation: process") as caught:
                backworks.load(second, isolation=isolation)
            assert str(first.parent / "lib" / "libboth.so") in str(caught.value)
            assert str(second.parent / "lib" / "libboth.so") in str(caught.value)
            assert plugin.process_endpoint_data("/") == "first"
        with backworks.load(second, isolation="process") as plugin:
            assert plugin.process_endpoint_data("/") == "second"

    @name_is_unique
    def test_checked(self, both: list[Path], tmp_path: Path) -> None:
        """The check of a configuration says so as well, of plugins that share a process only."""
        plugins = {path.parent.name: {"path": str(path), "isolation": "none"} for path in both}
        (line,) = check_plugins(as_config({"plugins": plugins})).libraries

        assert line.startswith("plugins.second.path: ")
        assert "only one library of that name" in line
        plugins["first"]["isolation"] = "process"
        assert check_plugins(as_config({"plugins": plugins})).libraries == []

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
    def test_of_others(self, cc: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """If the program itself has loaded another library of that name, a warning names both."""
        theirs = build_dependency(cc, tmp_path / "theirs", "theirs", name="libtheirs.so")
        ctypes.CDLL(str(theirs))
        own = build_dependency(cc, tmp_path / "lib", "own", name="libtheirs.so")
        plugin = build_plugin(cc, tmp_path / "libp.so", FROM_LINKED, ["lib"], own.parent)
        with backworks.load(plugin) as loaded:
            assert loaded.process_endpoint_data("/") == "theirs"
        (warning,) = _warnings(caplog)
        assert warning == (
            f"{plugin}: it brings along {own}, but this process has already loaded {theirs} and uses that one; use "
            "isolation: process"
        )

    @posix_only
    def test_same(self, cc: list[str], tmp_path: Path) -> None:
        """Two plugins with the same library are not in each other's way."""
        dependency = build_dependency(cc, tmp_path / "lib", "shared", name=LIBRARY.format("shared"))
        for name in ("one", "two"):
            source = FROM_LINKED.replace('"echo"', f'"{name}"')
            build_plugin(cc, tmp_path / LIBRARY.format(name), source, ["lib"], dependency.parent)
        with backworks.load(tmp_path / "one") as one, backworks.load(tmp_path / "two") as two:
            assert one.process_endpoint_data("/") == two.process_endpoint_data("/") == "shared"
