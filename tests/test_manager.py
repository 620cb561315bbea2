"""The plugin manager: starting, replacing and shutting down several plugins."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ECHO, LIBRARY, CompilePlugin
from gate import GATED, PATIENCE, Gate
from test_plugin import in_thread

import backworks
from backworks import BackworksPlugin, Code, PluginManager, PluginResult

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: A plugin that logs its shutdown.
TALKING = ECHO.replace("  free(plugin);\n", '  backworks_log(plugin->host, 20, "shut down");\n  free(plugin);\n')


class Shout(BackworksPlugin):
    """A Python plugin."""

    name = "shout"
    version = "0.1.0"
    description = "Answers in capitals"

    def __init__(self) -> None:
        """Starts without a record."""
        self.done: list[object] = []

    def initialize(self, config: Mapping[str, Any]) -> None:
        """Records the configuration."""
        self.done.append(dict(config))

    def process_endpoint_data(self, endpoint: str, method: str, data: str) -> str | bytes | PluginResult | None:
        """Responds, or fails on request."""
        match endpoint:
            case "raise":
                raise KeyError("lost")
            case "refuse":
                raise backworks.PluginError("not you", code=Code.PERMISSION_DENIED, http_status=451)
            case "number":
                return 7  # type: ignore[return-value]
            case "none":
                return None
            case "http":
                return PluginResult(b"\xff", 201, "image/gif", (("X-A", "1"),))
            case "bytes":
                return data.encode("utf-8", "surrogateescape")
        return data.upper()

    def health_check(self) -> None:
        """Fails on request."""
        if "ill" in self.done:
            raise RuntimeError("ill")

    def shutdown(self) -> None:
        """Records the shutdown."""
        self.done.append("shutdown")


@pytest.fixture(name="records")
def _records() -> Any:
    """Returns the plugins' log records as pairs of logger and message."""
    heard: list[tuple[str, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append((record.name, record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger("backworks")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield heard
    logger.removeHandler(handler)


class TestLoading:
    """Single plugins."""

    def test_two_instances_of_one_library(self, compile_plugin: CompilePlugin) -> None:
        """A library can run twice, under two ids."""
        with PluginManager() as manager:
            manager.load(compile_plugin(), plugin_id="one")
            manager.load(compile_plugin(), plugin_id="two")

            assert list(manager.plugins) == ["one", "two"]
            assert manager.process_endpoint_data("two", "/", "GET", "x") == "x"
            assert {plugin.name for plugin in manager.plugins.values()} == {"echo"}

    def test_own_name(self, compile_plugin: CompilePlugin) -> None:
        """The default id is the plugin's own name, and a duplicate is an error that changes nothing."""
        with PluginManager() as manager:
            manager.load(compile_plugin())
            with pytest.raises(backworks.PluginStateError, match="echo: a plugin with this id already runs"):
                manager.load(compile_plugin())

            assert list(manager.plugins) == ["echo"]

    def test_unknown(self, compile_plugin: CompilePlugin) -> None:
        """The error of a call to an unknown plugin lists the running plugins."""
        with PluginManager() as manager:
            manager.load(compile_plugin())

            for operation in (manager.process_endpoint_data, manager.call):
                with pytest.raises(backworks.PluginStateError, match="no plugin 'ehco'; running plugins: echo"):
                    operation("ehco", "/")
            for other in (manager.unload, manager.reload):
                with pytest.raises(backworks.PluginStateError, match="no plugin 'ehco'"):
                    other("ehco")

    def test_unload(self, compile_plugin: CompilePlugin) -> None:
        """Unloading shuts a plugin down and frees its id."""
        with PluginManager() as manager:
            plugin = manager.load(compile_plugin())

            assert manager.unload("echo") is True
            assert plugin.state == "closed"
            manager.load(compile_plugin())
            assert manager.process_endpoint_data("echo", "/", "GET", "back") == "back"

    def test_closed(self, compile_plugin: CompilePlugin) -> None:
        """A closed manager starts no plugins."""
        manager = PluginManager()
        manager.close()
        manager.close()

        with pytest.raises(backworks.PluginStateError, match="the plugin manager is closed"):
            manager.load(compile_plugin())


class TestReload:
    """Replacing an instance."""

    def test_new_file(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """A reload uses the current content of the file."""
        path = tmp_path / LIBRARY.format("plugin")
        path.write_bytes(compile_plugin().read_bytes())
        with PluginManager() as manager:
            old = manager.load(path)
            path.write_bytes(compile_plugin(name="newer", flags=['-DVERSION="2.0.0"']).read_bytes())
            new = manager.reload("echo")

            assert (old.version, old.state) == ("1.0.0", "closed")
            assert (new.version, new.state) == ("2.0.0", "running")
            assert manager.plugins["echo"] is new

    def test_broken_file(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """If the new file is not a plugin, the old instance continues to run."""
        path = tmp_path / LIBRARY.format("plugin")
        path.write_bytes(compile_plugin().read_bytes())
        with PluginManager() as manager:
            manager.load(path)
            path.write_bytes(b"")
            with pytest.raises(backworks.NotALibraryError):
                manager.reload("echo")

            assert manager.process_endpoint_data("echo", "/", "GET", "old") == "old"

    def test_drains(self, compile_plugin: CompilePlugin) -> None:
        """The old instance completes its calls in flight, while new calls go to the new instance."""
        with PluginManager() as manager, Gate() as gate:
            old = manager.load(compile_plugin(GATED, "gated"), isolation="thread")
            first = in_thread(lambda: manager.process_endpoint_data("echo", "/", "GET", "first"))
            gate.wait()
            reload = in_thread(lambda: manager.reload("echo"))
            while manager.plugins["echo"] is old:
                pass
            second = in_thread(lambda: manager.process_endpoint_data("echo", "/", "GET", "second"))
            gate.wait()
            assert not first.done()
            gate.open()

            assert first.result(PATIENCE) == "first"
            assert second.result(PATIENCE) == "second"
            assert reload.result(PATIENCE) is manager.plugins["echo"]

    def test_under_load(self, compile_plugin: CompilePlugin) -> None:
        """No call fails or gets another's response while the plugin is reloaded repeatedly."""
        wrong: list[object] = []
        over = threading.Event()
        with PluginManager() as manager:
            manager.load(compile_plugin())

            def call(number: int) -> None:
                i = 0
                while not over.is_set():
                    i += 1
                    data = f"{number}/{i}"
                    try:
                        answer: object = manager.process_endpoint_data("echo", "/", "GET", data)
                    except BaseException as error:
                        answer = error
                    if answer != data:
                        wrong.append(answer)

            calls = [in_thread(lambda n=n: call(n)) for n in range(4)]
            for _ in range(30):
                manager.reload("echo")
            over.set()
            for one in calls:
                one.result(PATIENCE)

        assert wrong == []


class TestClose:
    """Shutdown of all plugins."""

    def test_order(self, compile_plugin: CompilePlugin, records: list[tuple[str, str]]) -> None:
        """Plugins are shut down in reverse order, and an error in one does not affect the others."""
        fails = TALKING.replace("free(plugin);\n  return BACKWORKS_OK;", "free(plugin);\n  return BACKWORKS_INTERNAL;")
        with PluginManager() as manager:
            manager.load(compile_plugin(TALKING, "talking"), plugin_id="a")
            manager.load(compile_plugin(fails, "fails"), plugin_id="b", isolation="thread")
            manager.load(compile_plugin(TALKING, "talking"), plugin_id="c")

        order = [name.rpartition(".")[2] for name, message in records if message == "shut down"]
        assert order == ["c", "b", "a"]
        assert ("backworks.plugin.b", "shutdown returned INTERNAL") in records

    def test_hanging(self, compile_plugin: CompilePlugin, records: list[tuple[str, str]]) -> None:
        """A plugin that hangs is abandoned after its share of the timeout, and the plugins before it are shut down."""
        manager = PluginManager()
        manager.load(compile_plugin(TALKING, "talking"), plugin_id="first")
        manager.load(compile_plugin(GATED, "gated"), plugin_id="hangs", isolation="thread")
        with Gate("hangs") as gate:
            call = in_thread(lambda: manager.process_endpoint_data("hangs", "/"))
            gate.wait()
            manager.close(timeout=0.2)

            assert ("backworks.plugin.first", "shut down") in records
            assert any(name.endswith("hangs") and "abandoned" in message for name, message in records)
            gate.open()
            call.result(PATIENCE)

    def test_async(self, compile_plugin: CompilePlugin) -> None:
        """``async with`` closes the manager, and the async methods respond."""

        async def main() -> None:
            async with PluginManager() as manager:
                plugin = manager.load(compile_plugin())
                assert await manager.process_endpoint_data_async("echo", "/", "GET", "x") == "x"
                result = await manager.call_async("echo", "/", "GET", "y")
                assert result == PluginResult(b"y")
            assert plugin.state == "closed"

        asyncio.run(main())


class TestBuiltin:
    """Python objects as plugins."""

    def test_life(self) -> None:
        """A Python plugin is initialised, called and shut down like a compiled one."""
        shout = Shout()
        with PluginManager() as manager:
            plugin = manager.register_builtin(shout, {"a": 1})

            assert (plugin.name, plugin.version, plugin.description) == (
                "shout",
                "0.1.0",
                "Answers in capitals",
            )
            assert (plugin.manifest, plugin.path) == (None, None)
            assert manager.process_endpoint_data("shout", "/", "GET", "é") == "É"
            assert manager.process_endpoint_data("shout", "none") is None
            assert manager.process_endpoint_data("shout", "bytes", "GET", b"\xff", as_bytes=True) == b"\xff"
            assert manager.call("shout", "http") == PluginResult(b"\xff", 201, "image/gif", (("X-A", "1"),))
        assert shout.done == [{"a": 1}, "shutdown"]

    def test_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """An exception becomes INTERNAL with its type and text and is logged; the plugin keeps running."""
        with PluginManager() as manager:
            manager.register_builtin(Shout())
            with pytest.raises(backworks.PluginError, match="^shout: INTERNAL: KeyError: 'lost'$"):
                manager.process_endpoint_data("shout", "raise")

            assert "Traceback" in caplog.text
            assert manager.process_endpoint_data("shout", "/", "GET", "on") == "ON"

    def test_refuses(self) -> None:
        """A PluginError keeps its code, message and status."""
        with PluginManager() as manager:
            manager.register_builtin(Shout())
            with pytest.raises(backworks.PluginError, match="^shout: PERMISSION_DENIED: not you$") as caught:
                manager.process_endpoint_data("shout", "refuse")

        assert caught.value.http_status == 451

    def test_wrong_answer(self) -> None:
        """A response of an invalid type is an error that names the valid types."""
        with PluginManager() as manager:
            manager.register_builtin(Shout())
            with pytest.raises(backworks.PluginError, match="must return str, bytes, PluginResult or None, not int"):
                manager.process_endpoint_data("shout", "number")

    def test_health(self) -> None:
        """The exception of a health check becomes its message."""
        shout = Shout()
        with PluginManager() as manager:
            manager.register_builtin(shout)
            assert manager.is_ready(manager.health())
            shout.done.append("ill")
            health = manager.health()

            assert (health["shout"].ok, health["shout"].message) == (False, "RuntimeError: ill")
            assert not manager.is_ready(health)

    def test_no_plugin(self) -> None:
        """An object without a required member, or with a coroutine as method, raises a TypeError that names it."""

        class Async(Shout):
            async def process_endpoint_data(self, endpoint: str, method: str, data: str) -> str:  # type: ignore[override]
                return data

        with PluginManager() as manager:
            with pytest.raises(TypeError, match="object is not a plugin: it must have an attribute 'name' of type str"):
                manager.register_builtin(object())
            with pytest.raises(TypeError, match="its method process_endpoint_data is async"):
                manager.register_builtin(Async())


class TestFromConfig:
    """Managers from a configuration."""

    def test_starts_all(self, compile_plugin: CompilePlugin) -> None:
        """Plugins start in order, with their configuration and options; disabled plugins do not start."""
        shout = Shout()
        config = {
            "plugins": {
                "b": {"path": str(compile_plugin()), "isolation": "none"},
                "shout": {"plugin_type": "builtin", "config": {"x": 1}},
                "a": {"path": str(compile_plugin()), "workers": 2, "timeout": "5s"},
                "off": {"path": str(compile_plugin()), "enabled": False},
            },
            "endpoints": {"/x": {"runtime": {"type": "plugin", "handler": "a"}}},
        }
        with PluginManager.from_config(config, builtins=[shout]) as manager:
            assert list(manager.plugins) == ["b", "shout", "a"]
            assert [plugin.isolation for plugin in manager.plugins.values()] == ["none", "thread", "process"]
            assert shout.done == [{"x": 1}]

    def test_imported_builtin(self) -> None:
        """A builtin with a path is imported."""
        config = {"plugins": {"loud": {"plugin_type": "builtin", "path": "test_manager:Shout"}}}
        with PluginManager.from_config(config) as manager:
            assert manager.process_endpoint_data("loud", "/", "GET", "x") == "X"

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            (
                {"plugin_type": "builtin", "path": "nowhere:Shout"},
                "cannot import .*: No module named 'nowhere'",
            ),
            ({"plugin_type": "builtin", "path": "test_manager:Absent"}, "cannot import"),
            ({"plugin_type": "builtin"}, "builtins=.*or set its path to package.module:Class"),
        ],
    )
    def test_absent_builtin(self, settings: dict[str, object], text: str) -> None:
        """A builtin that cannot be found raises a ConfigError."""
        with pytest.raises(backworks.ConfigError, match=text):
            PluginManager.from_config({"plugins": {"loud": settings}})

    def test_critical(self, compile_plugin: CompilePlugin, tmp_path: Path, records: list[tuple[str, str]]) -> None:
        """If a critical plugin does not start, startup fails and the plugins before it are shut down."""
        config = {
            "plugins": {
                "good": {"path": str(compile_plugin(TALKING, "talking"))},
                "bad": {"path": str(compile_plugin()), "config": {"no": 1}, "critical": True},
            }
        }
        broken = ECHO.replace("*out = plugin;", "free(plugin);\n  (void)out;\n  return BACKWORKS_INTERNAL;")
        config["plugins"]["bad"]["path"] = str(compile_plugin(broken, "broken"))

        with pytest.raises(backworks.PluginInitError, match="^bad: INTERNAL"):
            PluginManager.from_config(config)

        assert ("backworks.plugin.good", "shut down") in records

    def test_not_critical(self, compile_plugin: CompilePlugin) -> None:
        """If a plugin with critical: false does not start, the others run; a call to it gives the reason."""
        broken = ECHO.replace(
            "*out = plugin;",
            'free(plugin);\n  (void)out;\n  return backworks_fail(error, 14, "sea is down");',
        )
        config = {
            "plugins": {
                "bad": {"path": str(compile_plugin(broken, "down")), "critical": False},
                "good": {"path": str(compile_plugin())},
            }
        }
        with PluginManager.from_config(config) as manager:
            assert list(manager.plugins) == ["good"]
            assert list(manager.failed) == ["bad"]
            with pytest.raises(backworks.PluginUnavailable, match="it did not start: bad: UNAVAILABLE: sea is down"):
                manager.process_endpoint_data("bad", "/")
            health = manager.health()
            assert (health["bad"].ok, health["bad"].state) == (False, "failed")
            assert "it did not start: bad: UNAVAILABLE: sea is down; the next start is in " in health["bad"].message
            assert manager.is_ready(health)

    @pytest.mark.parametrize("isolation", ["none", "thread", "process"])
    def test_starts_later(self, compile_plugin: CompilePlugin, tmp_path: Path, isolation: str) -> None:
        """A plugin with critical: false that does not start is started again until it runs."""
        library = compile_plugin()
        missing = tmp_path / library.name
        plugin = {"path": str(missing), "critical": False, "isolation": isolation}
        if isolation == "process":
            plugin["restart"] = {"initial": "1ms", "maximum": "5ms"}
        with PluginManager.from_config({"plugins": {"late": plugin}}) as manager:
            assert list(manager.failed) == ["late"]
            shutil.copy(library, tmp_path / "copy")
            (tmp_path / "copy").rename(missing)
            until = time.monotonic() + PATIENCE
            while "late" not in manager.plugins:
                assert time.monotonic() < until
                threading.Event().wait(0.001)

            assert manager.process_endpoint_data("late", "/", "POST", "x") == "x"
            assert not manager.failed
            assert manager.health()["late"].ok
        assert "backworks-retry" not in {thread.name for thread in threading.enumerate()}

    def test_discovery(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """Discovered plugins start automatically; a plugin without a path is found by its name."""
        for name, flags in (("one", ['-DNAME="one"']), ("two", ['-DNAME="two"'])):
            library = compile_plugin(name=name, flags=flags)
            (tmp_path / library.name).write_bytes(library.read_bytes())
        config = {
            "plugin_discovery": {"directories": [str(tmp_path)]},
            "plugins": {"two": {"isolation": "none"}},
            "endpoints": {"/x": {"runtime": {"type": "plugin", "handler": "one"}}},
        }
        with PluginManager.from_config(config) as manager:
            assert {name: plugin.isolation for name, plugin in manager.plugins.items()} == {
                "two": "none",
                "one": "process",
            }

        with PluginManager.from_discovery(tmp_path) as manager:
            assert list(manager.plugins) == ["one", "two"]

    def test_absent_handler(self, tmp_path: Path) -> None:
        """An endpoint whose handler discovery does not find raises a ConfigError."""
        config = {
            "plugin_discovery": {"directories": [str(tmp_path)]},
            "endpoints": {"/x": {"runtime": {"type": "plugin", "handler": "ghost"}}},
        }
        with pytest.raises(backworks.ConfigError, match="runtime.handler: plugin_discovery finds no plugin 'ghost'"):
            PluginManager.from_config(config)

    def test_discovery_of_a_named_file(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """A file that the configuration names runs once, under the configured name, even if discovery finds it, too."""
        library = compile_plugin()
        (tmp_path / library.name).write_bytes(library.read_bytes())
        config = {
            "plugin_discovery": {"directories": [str(tmp_path)]},
            "plugins": {"mine": {"path": str(tmp_path / "echo")}},
        }
        with PluginManager.from_config(config) as manager:
            assert list(manager.plugins) == ["mine"]
