"""Reloading the configuration under load: what changes, what stays, and that no request fails."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import FROM_LINKED, build_dependency, build_plugin, posix_only
from conftest import ECHO, LIBRARY, CompilePlugin
from gate import GATED, PATIENCE, Gate
from test_http_app import open_client
from test_plugin import in_thread

import backworks
from backworks import LinkError, PluginManager
from backworks.http import create_app

#: A plugin that answers with its version and what it was sent.
VERSIONED = ECHO.replace(
    "  return backworks_answer(response, request->data, request->data_size);",
    """  char text[64];
  int size = snprintf(text, sizeof text, "%s %.*s", VERSION, (int)request->data_size, request->data);
  return backworks_answer(response, text, (size_t)size);""",
)

#: A plugin whose shutdown does not return.
HANGS = ECHO.replace("  free(plugin);", "  for (volatile int i = 0; i >= 0;) {}\n  free(plugin);")

Write = Callable[..., Path]


@pytest.fixture(name="write")
def _write(tmp_path: Path) -> Write:
    """Writes a configuration with plugins, given by path or with all settings, and an endpoint for each."""

    def write(server: dict[str, Any] | None = None, **plugins: Any) -> Path:
        path = tmp_path / "backworks.yaml"
        settings = {name: {"path": str(one)} if isinstance(one, Path) else one for name, one in plugins.items()}
        data = {
            "server": {"port": 0, **(server or {})},
            "plugins": {name: {"isolation": "thread", "timeout": None, **one} for name, one in settings.items()},
            "endpoints": {
                f"/{name}": {"methods": ["POST"], "runtime": {"handler": name}, "data": "body"} for name in settings
            },
        }
        new = path.with_suffix(".new")
        new.write_text(json.dumps(data), encoding="utf-8")
        new.replace(path)
        return path

    return write


@pytest.fixture(name="library")
def _library(compile_plugin: CompilePlugin, tmp_path: Path) -> Callable[[str], Path]:
    """Replaces the plugin's file by another version."""
    path = tmp_path / LIBRARY.format("versioned")

    def put(version: str) -> Path:
        new = path.with_suffix(".new")
        new.write_bytes(compile_plugin(VERSIONED, "versioned", [f'-DVERSION="{version}"']).read_bytes())
        new.replace(path)
        return path

    return put


class TestDependency:
    """A reload after only a library has changed that a plugin brings along."""

    @posix_only
    @pytest.mark.parametrize("search", ["lib", "../pkg.libs"])
    @pytest.mark.parametrize("whole", [False, True], ids=["plugin", "configuration"])
    def test_worker(self, cc: list[str], tmp_path: Path, write: Write, search: str, whole: bool) -> None:
        """The new library is used, and a further reload changes nothing."""
        directory = tmp_path / "pkg"
        place = (directory / search).resolve()
        build_dependency(cc, place, "old")
        plugin = build_plugin(cc, directory / LIBRARY.format("p"), FROM_LINKED, [search], place)
        config = write(p={"path": str(plugin), "isolation": "process"})
        with PluginManager.from_config(config) as manager:
            assert manager.process_endpoint_data("p", "/") == "old"
            build_dependency(cc, place, "new")
            if whole:
                assert str(manager.reload_config()) == "p replaced"
            else:
                manager.reload("p")
            assert manager.process_endpoint_data("p", "/") == "new"
            assert str(manager.reload_config()) == "no plugins changed"

    @pytest.mark.skipif(sys.platform != "linux", reason="a fixed path in RUNPATH; macOS distinguishes paths")
    def test_fixed_path(self, cc: list[str], tmp_path: Path, write: Write) -> None:
        """A library that a fixed path in RUNPATH leads to counts as well."""
        place = build_dependency(cc, tmp_path / "elsewhere", "old").parent
        flags = [f"-Wl,-rpath,{place}"]
        plugin = build_plugin(cc, tmp_path / LIBRARY.format("p"), FROM_LINKED, (), place, flags)
        with PluginManager.from_config(write(p={"path": str(plugin), "isolation": "process"})) as manager:
            assert manager.process_endpoint_data("p", "/") == "old"
            build_dependency(cc, place, "new")
            assert str(manager.reload_config()) == "p replaced"
            assert manager.process_endpoint_data("p", "/") == "new"

    @pytest.mark.skipif(sys.platform != "linux", reason="macOS distinguishes paths")
    def test_host(self, cc: list[str], tmp_path: Path, write: Write) -> None:
        """In the host's process, which cannot load a second library of that name, the reload fails and says why."""
        place = build_dependency(cc, tmp_path / "lib", "old", name="libhost.so").parent
        plugin = build_plugin(cc, tmp_path / LIBRARY.format("p"), FROM_LINKED, ["lib"], place)
        with PluginManager.from_config(write(p={"path": str(plugin), "isolation": "none"})) as manager:
            build_dependency(cc, place, "new", name="libhost.so")
            with pytest.raises(LinkError, match="keeps the version .*; use isolation: process, or restart the host"):
                manager.reload_config()
            assert manager.process_endpoint_data("p", "/") == "old"


class TestConfiguration:
    """The effect of a reload on plugins."""

    def test_what_changes(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """Only changed plugins are started or closed; the others keep running, and the result lists all of them."""
        echo = compile_plugin()
        first = write(same=echo, other={"path": str(echo), "workers": 1}, gone=echo)
        with PluginManager.from_config(first) as manager:
            before = manager.plugins
            write(same=echo, other={"path": str(echo), "workers": 2}, new=echo)
            result = manager.reload_config()

            assert (result.kept, result.replaced) == (("same",), ("other",))
            assert (result.started, result.stopped, result.failed) == (("new",), ("gone",), ())
            assert str(result) == "new started; other replaced; gone stopped"
            assert set(manager.plugins) == {"same", "other", "new"}
            assert manager.plugins["same"] is before["same"]
            assert [before[name].state for name in ("same", "other", "gone")] == ["running", "closed", "closed"]
            assert manager.config is not None
            assert set(manager.config.plugins) == {"same", "other", "new"}
            with pytest.raises(backworks.PluginStateError, match="no plugin 'gone'; running plugins: same, other, new"):
                manager.call("gone", "/")

    def test_nothing(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """A reload without changes has no effect."""
        with PluginManager.from_config(write(echo=compile_plugin())) as manager:
            before = manager.plugins["echo"]

            assert str(manager.reload_config()) == "no plugins changed"
            assert manager.plugins["echo"] is before

    def test_file(self, library: Callable[[str], Path], write: Write) -> None:
        """A changed library is loaded again, even if the configuration is unchanged."""
        with PluginManager.from_config(write(it=library("1.0.0"))) as manager:
            library("2.0.0")
            result = manager.reload_config()

            assert result.replaced == ("it",)
            assert manager.process_endpoint_data("it", "/", "GET", "x") == "2.0.0 x"

    def test_wrong(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """An error in the configuration changes nothing, and names its position in the file."""
        path = write(echo=compile_plugin())
        with PluginManager.from_config(path) as manager:
            before = manager.plugins["echo"]
            path.write_text("plugins: {echo: {path: x, wrokers: 1}}")
            with pytest.raises(backworks.ConfigError, match=r"yaml:1:27: plugins.echo.wrokers: unknown key; did you"):
                manager.reload_config()

            assert manager.plugins["echo"] is before
            assert manager.process_endpoint_data("echo", "/", "GET", "on") == "on"

    @pytest.mark.parametrize("critical", [True, False])
    def test_does_not_start(self, compile_plugin: CompilePlugin, write: Write, critical: bool) -> None:
        """If a running plugin's replacement does not start, all new plugins are closed and nothing changes."""
        echo = compile_plugin()
        with PluginManager.from_config(write(echo={"path": str(echo), "critical": critical})) as manager:
            before = manager.plugins["echo"]
            write(new=echo, echo={"path": str(echo) + ".gone", "critical": critical})
            with pytest.raises(backworks.PluginNotFound) as caught:
                manager.reload_config()

            assert caught.value.plugin == "echo"
            assert dict(manager.plugins) == {"echo": before}
            assert before.state == "running"

    def test_may_fail(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """A new plugin that is not critical may fail, as at startup, and can succeed at the next reload."""
        echo = compile_plugin()
        with PluginManager.from_config(write(echo=echo)) as manager:
            write(echo=echo, ghost={"path": "/nowhere/x.so", "critical": False})
            result = manager.reload_config()
            assert (result.failed, list(manager.failed)) == (("ghost",), ["ghost"])
            with pytest.raises(backworks.PluginUnavailable, match="it did not start"):
                manager.call("ghost", "/")
            write(echo=echo, ghost={"path": str(echo), "critical": False})
            result = manager.reload_config()

            assert (result.started, dict(manager.failed)) == (("ghost",), {})

    def test_the_program_s_own(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """A plugin started by the program keeps running, and a configuration cannot use its id."""
        echo = compile_plugin()
        with PluginManager.from_config(write(echo=echo)) as manager:
            own = manager.load(echo, plugin_id="own")
            write(echo=echo)
            assert manager.reload_config().kept == ("echo", "own")
            write(echo=echo, own=echo)
            with pytest.raises(
                backworks.PluginStateError, match="own: the program has already started a plugin with this id"
            ):
                manager.reload_config()

            assert manager.plugins["own"] is own
            assert own.state == "running"

    def test_discovered(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """Discovered plugins are started and closed as their files appear and disappear."""
        config = {"plugin_discovery": {"directories": [str(tmp_path)]}}
        file = tmp_path / compile_plugin().name
        with PluginManager.from_config(config) as manager:
            assert dict(manager.plugins) == {}
            file.write_bytes(compile_plugin().read_bytes())
            assert manager.reload_config(config).started == ("echo",)
            assert manager.reload_config(config).kept == ("echo",)
            file.unlink()

            assert manager.reload_config(config).stopped == ("echo",)

    def test_no_file(self) -> None:
        """A configuration without a file cannot be read again, but another can be passed."""
        with PluginManager.from_config({}) as manager, PluginManager() as empty:
            for one in (manager, empty):
                with pytest.raises(backworks.PluginStateError, match="has no file to read again; pass the new one"):
                    one.reload_config()
            assert str(manager.reload_config({})) == "no plugins changed"

    def test_closed(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """A closed manager starts no plugins."""
        manager = PluginManager.from_config(write())
        manager.close()
        write(echo=compile_plugin())

        with pytest.raises(backworks.PluginStateError, match="the plugin manager was closed"):
            manager.reload_config()

    def test_drains(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """A removed plugin completes its calls in flight before it is shut down."""
        with PluginManager.from_config(write(echo=compile_plugin(GATED, "gated"))) as manager, Gate() as gate:
            old = manager.plugins["echo"]
            call = in_thread(lambda: manager.process_endpoint_data("echo", "/", "GET", "inside"))
            gate.wait()
            write()
            reload = in_thread(manager.reload_config)
            while old.state == "running":
                pass
            assert not reload.done()
            gate.open()

            assert call.result(PATIENCE) == "inside"
            assert reload.result(PATIENCE).stopped == ("echo",)
            assert old.state == "closed"

    @pytest.mark.parametrize("isolation", ["none", "thread", "process"])
    def test_under_load(self, library: Callable[[str], Path], write: Write, isolation: str) -> None:
        """No call fails or gets another's response while the configuration is reloaded repeatedly."""
        wrong: list[object] = []
        over = threading.Event()

        def call(manager: PluginManager, number: int) -> None:
            i = 0
            while not over.is_set():
                i += 1
                try:
                    answer: Any = manager.process_endpoint_data("it", "/", "GET", f"{number}/{i}")
                except BaseException as error:
                    answer = repr(error)
                if answer.partition(" ")[2] != f"{number}/{i}":
                    wrong.append(answer)

        with PluginManager.from_config(write(it=library("1.0.0"))) as manager:
            calls = [in_thread(lambda n=n: call(manager, n)) for n in range(4)]
            for i in range(15):
                library(f"1.0.{i % 2}")
                write(it={"path": str(library(f"1.0.{i % 2}")), "workers": 1 + i % 3, "isolation": isolation})
                manager.reload_config()
            over.set()
            for one in calls:
                one.result(PATIENCE)

            assert manager.metrics()["it"].calls > 15
        assert wrong == []


class TestApplication:
    """The routes of an application over a manager."""

    def test_routes(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """The application has the new routes, description and limits as soon as the manager has the new plugins."""
        echo = compile_plugin()
        with PluginManager.from_config(write(a=echo)) as manager:
            app = create_app(manager)

            async def main() -> None:
                async with open_client(app) as client:
                    assert (await client.post("/a", content=b"1")).text == "1"
                    assert (await client.post("/b", content=b"1")).status_code == 404
                    write({"max_body": 3}, b=echo)
                    await asyncio.to_thread(manager.reload_config)
                    assert (await client.post("/b", content=b"1")).text == "1"
                    assert (await client.post("/b", content=b"1234")).status_code == 413
                    assert (await client.post("/a", content=b"1")).status_code == 404
                    assert list((await client.get("/openapi.json")).json()["paths"]) == ["/b"]

            asyncio.run(main())

    def test_body_on_its_way(self, compile_plugin: CompilePlugin, write: Write) -> None:
        """A request whose body arrives while its plugin is removed is still handled by that plugin."""
        with PluginManager.from_config(write(gone=compile_plugin())) as manager:
            app = create_app(manager)

            async def main() -> list[dict[str, Any]]:
                sent: list[Any] = []
                app.loop = asyncio.get_running_loop()
                begun, go_on = asyncio.Event(), asyncio.Event()

                async def receive() -> dict[str, Any]:
                    begun.set()
                    await go_on.wait()
                    return {"type": "http.request", "body": b"late", "more_body": False}

                async def send(message: Any) -> None:
                    sent.append(message)

                scope = {
                    "type": "http",
                    "method": "POST",
                    "path": "/gone",
                    "raw_path": b"/gone",
                    "query_string": b"",
                    "http_version": "1.1",
                    "headers": [(b"content-length", b"4")],
                }
                request = asyncio.create_task(app(scope, receive, send))
                await begun.wait()
                write()
                reload = asyncio.create_task(asyncio.to_thread(manager.reload_config))
                while app.config.endpoints:  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0)
                assert not reload.done()
                go_on.set()
                await request
                assert (await reload).stopped == ("gone",)
                return sent

            sent = asyncio.run(main())

        assert [sent[0]["status"], sent[1]["body"]] == [200, b"late"]


class Served:
    """``backworks serve`` in a separate process, with its log."""

    def __init__(self, config: Path, *options: str) -> None:
        """Starts the server."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backworks", "serve", str(config), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().partition("127.0.0.1:")[2].split()[0])
        self.log: list[str] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.log.append(line.rstrip())
                self._more.notify_all()

    def wait_for(self, text: str, times: int = 1) -> str:
        """Waits until the log contains a text a number of times."""
        with self._more:
            assert self._more.wait_for(lambda: sum(text in line for line in self.log) >= times, PATIENCE), self.log
        return next(line for line in reversed(self.log) if text in line)

    def ask(self, path: str, body: bytes = b"x") -> tuple[int, str]:
        """Sends a request over a new connection."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        client.request("POST", path, body)
        answer = client.getresponse()
        text = answer.read().decode()
        client.close()
        return answer.status, text

    def stop(self) -> int:
        """Stops the server and returns its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


Serve = Callable[..., Served]


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    """Starts servers."""
    servers: list[Served] = []

    def serve(config: Path, *options: str) -> Served:
        servers.append(Served(config, *options))
        return servers[-1]

    yield serve
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()


class Load:
    """Clients that send requests continuously and check each response."""

    def __init__(self, server: Served, path: str, count: int = 3) -> None:
        """Starts the clients."""
        self.answers = 0
        self.wrong: list[object] = []
        self._over = threading.Event()
        self._clients = [in_thread(lambda n=n: self._run(server, path, n)) for n in range(count)]

    def _run(self, server: Served, path: str, number: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        i = 0
        while not self._over.is_set():
            i += 1
            try:
                client.request("POST", path, f"{number}/{i}".encode())
                answer = client.getresponse()
                found: object = (answer.status, answer.read().decode().partition(" ")[2])
            except Exception as error:
                found = repr(error)
            if found != (200, f"{number}/{i}"):
                self.wrong.append(found)
            self.answers += 1
        client.close()

    def end(self) -> list[object]:
        """Stops the clients and returns their errors."""
        self._over.set()
        for client in self._clients:
            client.result(PATIENCE)
        return self.wrong


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
class TestSignal:
    """SIGHUP to a server under load."""

    @pytest.mark.parametrize(("isolation", "workers"), [("none", 1), ("thread", 1), ("thread", 2), ("process", 2)])
    def test_under_load(
        self, library: Callable[[str], Path], write: Write, serve: Serve, isolation: str, workers: int
    ) -> None:
        """Each SIGHUP switches to the files' current content, and no request fails or gets another's response."""
        server = serve(write(it={"path": str(library("1.0.0")), "isolation": isolation}), "--workers", str(workers))
        load = Load(server, "/it")
        for i in range(1, 6):
            write(it={"path": str(library(f"1.0.{i}")), "workers": i, "isolation": isolation})
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("configuration reloaded: it replaced", i * workers)
        wrong = load.end()

        assert wrong == []
        assert load.answers > 5
        assert server.ask("/it") == (200, "1.0.5 x")
        assert server.stop() == 0

    def test_failing(self, library: Callable[[str], Path], write: Write, serve: Serve) -> None:
        """An invalid configuration logs one line, and the old one stays in use."""
        path = write(it=library("1.0.0"))
        server = serve(path)
        path.write_text("plugins: {it: {pth: 1}}\nserver: {prot: 1}\n")
        server.process.send_signal(signal.SIGHUP)
        line = server.wait_for("reload failed, keeping the current configuration: ")

        assert "plugins.it.pth: unknown key" in line
        assert "server.prot: unknown key" in line
        assert server.ask("/it") == (200, "1.0.0 x")
        write({"port": 1}, it=library("1.0.1"))
        server.process.send_signal(signal.SIGHUP)
        assert "restart the server to change server.port" in server.wait_for("configuration reloaded")
        assert server.ask("/it") == (200, "1.0.1 x")


class TestWatching:
    """``backworks serve --reload``."""

    def test_changes(self, library: Callable[[str], Path], write: Write, serve: Serve) -> None:
        """A change of the library or of the configuration takes effect automatically."""
        path = write(it=library("1.0.0"))
        server = serve(path, "--reload")
        load = Load(server, "/it", 1)
        library("1.0.1")
        server.wait_for("configuration reloaded: it replaced")
        assert server.ask("/it") == (200, "1.0.1 x")
        path.write_text("plugins: [")
        server.wait_for("reload failed")
        write(it=library("1.0.1"), more=library("1.0.1"))
        server.wait_for("configuration reloaded: more started")

        assert server.ask("/more") == (200, "1.0.1 x")
        assert load.end() == []


@pytest.mark.parametrize("isolation", ["none", "thread", "process"])
class TestHangingShutdown:
    """Plugins whose shutdown does not return."""

    def test_close(self, compile_plugin: CompilePlugin, isolation: str, caplog: pytest.LogCaptureFixture) -> None:
        """Closing a manager keeps to its timeout, shuts the other plugins down, and logs the abandoned one."""
        caplog.set_level(logging.WARNING)
        code = (
            "import logging, os, sys; logging.basicConfig(level='WARNING'); import backworks\n"
            "manager = backworks.PluginManager()\n"
            "good = manager.load(sys.argv[1], plugin_id='good')\n"
            "manager.load(sys.argv[2], plugin_id='bad', isolation=sys.argv[3])\n"
            "manager.close(1.0); print(good.state, flush=True); os._exit(0)"
        )
        libraries = [str(compile_plugin()), str(compile_plugin(HANGS, "hangs"))]
        run = subprocess.run(
            [sys.executable, "-c", code, *libraries, isolation],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
            env={**os.environ},
        )

        assert run.stdout == "closed\n"
        assert "backworks.plugin.bad" in run.stderr
