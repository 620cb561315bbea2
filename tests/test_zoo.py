"""Hostile plugins in worker processes: the host survives, the caller gets an error, and nothing leaks.

Each animal in ``zookeeper.py`` is told to bite: by a Python program, over a mailbox and over pipes, and by an HTTP
client of one server that runs all of them at once, while another client keeps calling a healthy plugin of the same
server.
"""

from __future__ import annotations

import gc
import http.client
import json
import locale
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ECHO, PACE, CompilePlugin
from leftovers import PATIENCE, Traces, descendants, descriptors, has_mapped, memory, wait_for_end, workers
from unruly import CRASHED, last_words
from zookeeper import AT_END, AT_START, BITING, Animal, build

import backworks
from backworks import PluginCrashed, PluginError
from backworks.settings import Limits, Options, Restart

pytestmark = pytest.mark.skipif(sys.platform not in ("linux", "win32"), reason="the search for leaks needs /proc")

behind = pytest.mark.skipif(sys.platform != "linux", reason="the search for leaks needs /proc")

#: The timeout of a call that hangs and of one that does not, in seconds.
SHORT, LONG = (0.3 if sys.platform == "linux" else 1.0) * PACE, PATIENCE

LIMITS = {"memory": 256 << 20, "processes": 64}

#: The options of the zoo's workers; workers that died are replaced at once.
OPTIONS: Options = {
    "start_timeout": LONG,
    "restart": Restart(initial=0.001, maximum=0.01),
    "limits": Limits(**LIMITS),
    "breaker": None,
}

ids = str


class Watch(logging.Handler):
    """Collects the records of a plugin's logger, and lets a test wait for them."""

    def __init__(self, plugin: str) -> None:
        super().__init__()
        self._logger = logging.getLogger(f"backworks.plugin.{plugin}")
        self._news = threading.Condition()
        self._lines: list[str] = []

    def handle(self, record: logging.LogRecord) -> bool:
        with self._news:
            self._lines.append(record.getMessage())
            self._news.notify_all()
        return True

    def wait(self, pattern: str) -> None:
        """Waits for a record."""
        with self._news:
            found = self._news.wait_for(lambda: any(re.search(pattern, line) for line in self._lines), PATIENCE)
        assert found, (pattern, self._lines[:50])

    def __enter__(self) -> Watch:
        self._logger.addHandler(self)
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *error: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


def staged_in_this_process() -> Path:
    """The directory of the private copies of libraries."""
    from backworks.loading.private import private_directory

    return private_directory()


@pytest.fixture(scope="module", name="libraries")
def _libraries(cc: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(cc, tmp_path_factory.mktemp("zoo"), [*BITING, *AT_START, *AT_END])


@pytest.fixture(scope="module", name="echo")
def _echo(compile_plugin: CompilePlugin) -> Path:
    return compile_plugin(ECHO)


@pytest.fixture(name="channel", params=["mailbox", "pipes"] if sys.platform == "linux" else ["pipes"])
def _channel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Selects the channel to the workers."""
    if request.param == "pipes" and sys.platform == "linux":
        monkeypatch.setattr("backworks.isolation.channels.mailbox.create", lambda: None)
    return request.param


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(name="nothing_is_left")
def _nothing_is_left(echo: Path) -> Iterator[None]:
    """Compares this process before and after a test."""
    with backworks.load(echo, isolation="process"):
        pass  # creates what stays for good: the supervisor, the directory of private copies
    if sys.platform != "linux":
        yield
        return
    staged = staged_in_this_process()
    before = Traces.now(staged)
    process = (Path.cwd(), _environment(), locale.setlocale(locale.LC_ALL), os.umask(0o22), signal.getsignal(15))
    os.umask(process[3])
    yield
    left = wait_for_end(has_mapped(staged))
    after = Traces.now(staged)
    umask = os.umask(process[3])

    assert not left
    assert after.children == before.children
    assert after.descriptors == before.descriptors
    assert {thread.name for thread in after.threads - before.threads} == set()
    assert not [file for file in after.files - before.files if file.parent == staged and file.is_file()]
    assert process == (
        Path.cwd(),
        _environment(),
        locale.setlocale(locale.LC_ALL),
        umask,
        signal.getsignal(15),
    )


@pytest.mark.usefixtures("nothing_is_left", "channel")
class TestCalled:
    """Calls by a Python program, over each channel."""

    @pytest.mark.parametrize("animal", BITING, ids=ids)
    def test_bite(self, animal: Animal, libraries: dict[str, Path]) -> None:
        """The caller gets the exception for the fault, and the next call succeeds or is rejected."""
        timeout = SHORT if animal.hangs else LONG
        with (
            Watch(animal.plugin) as log,
            backworks.load(libraries[animal.name], isolation="process", timeout=LONG, **OPTIONS) as plugin,
        ):
            assert plugin.process_endpoint_data("/", data="well") == "well"
            began = time.monotonic()
            if animal.error is None:
                try:
                    assert plugin.process_endpoint_data("/", data="bite", timeout=timeout) == animal.answer
                except PluginError as error:
                    refused_with_reason(animal, error)
            else:
                with pytest.raises(animal.error, match=animal.message) as caught:
                    plugin.process_endpoint_data("/", data="bite", timeout=timeout)

                assert type(caught.value) is animal.error
                assert caught.value.plugin == animal.plugin
            if animal.hangs:
                assert time.monotonic() - began >= SHORT - 0.01
            if animal.log is not None:
                log.wait(animal.log)
            for _ in range(3):
                next_call(animal, plugin)

    @pytest.mark.parametrize("animal", AT_START, ids=ids)
    def test_bite_at_start(self, animal: Animal, libraries: dict[str, Path]) -> None:
        """Loading a library that cannot start raises an error with the reason."""
        assert animal.error is not None
        options: Options = OPTIONS | {"start_timeout": SHORT if animal.hangs else LONG}
        with pytest.raises(animal.error, match=animal.message):
            backworks.load(libraries[animal.name], isolation="process", **options)

    @pytest.mark.parametrize("animal", AT_END, ids=ids)
    def test_bite_at_end(self, animal: Animal, libraries: dict[str, Path]) -> None:
        """Closing a plugin that does not stop completes, and the log names the fault."""
        with Watch(animal.plugin) as log:
            plugin = backworks.load(libraries[animal.name], isolation="process", **OPTIONS)
            answer = plugin.process_endpoint_data("/", data="bite")
            plugin.close(SHORT if animal.hangs else LONG)
            if animal.log is not None:
                log.wait(animal.log)

            assert answer == animal.answer


def refused_with_reason(animal: Animal, error: PluginError) -> None:
    """Accepts an error, if it has a reason, from an animal that damages its worker's channel."""
    assert not animal.recovers, error
    assert error.message
    assert error.plugin == animal.plugin


def next_call(animal: Animal, plugin: backworks.Plugin) -> None:
    """Calls again."""
    try:
        assert plugin.process_endpoint_data("/", data="well", timeout=LONG) == "well"
    except PluginError as error:
        refused_with_reason(animal, error)


def test_crash_attributes(libraries: dict[str, Path], compile_plugin: CompilePlugin) -> None:
    """A crash has signal or exit code, the last lines on stderr, plugin and endpoint as attributes."""
    with backworks.load(libraries["aborts"], isolation="process", **OPTIONS) as plugin:
        with pytest.raises(PluginCrashed) as aborted:
            plugin.process_endpoint_data("/api/here", data="bite")
    with backworks.load(libraries["exits"], isolation="process", **OPTIONS) as plugin:
        with pytest.raises(PluginCrashed) as left:
            plugin.process_endpoint_data("/api/there", data="bite")
    with pytest.raises(PluginCrashed) as born_dead:
        backworks.load(libraries["crashes_in_init"], isolation="process", **OPTIONS)

    assert (aborted.value.signal, aborted.value.exit_code) == (CRASHED["abort"], None)
    assert (aborted.value.plugin, aborted.value.endpoint) == ("aborts", "/api/here")
    assert (left.value.signal, left.value.exit_code, left.value.endpoint) == (None, 0, "/api/there")
    assert last_words(born_dead.value.stderr) == ("the last words of init",)


class Healthy:
    """A client that calls one endpoint continuously, over one connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="healthy client")
        self.asked = 0
        self.failures: list[str] = []
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while not self._stop.wait(0.002):
            body = f"question {self.asked}".encode()
            try:
                connection.request("POST", "/healthy", body)
                answer = connection.getresponse()
                found = answer.status, answer.read()
                if found != (200, body):
                    self.failures.append(f"{body!r}: {found!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{body!r}: {error!r}")
                return
            with self._news:
                self.asked += 1
                self._news.notify_all()
        connection.close()

    def is_answered(self) -> bool:
        """Waits for one more response; returns whether it arrived, and all before it."""
        with self._news:
            asked = self.asked
            return self._news.wait_for(lambda: self.asked > asked, PATIENCE) and not self.failures

    def stop(self) -> None:
        """Stops the client."""
        self._stop.set()
        self._thread.join(PATIENCE)


class Server:
    """``backworks serve`` with the zoo's plugins, and its log."""

    def __init__(self, directory: Path, libraries: dict[str, Path], animals: list[Animal], echo: Path) -> None:
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        config = directory / "backworks.yaml"
        config.write_text(json.dumps(configuration(libraries, animals, echo)), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backworks", "serve", str(config), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": str(self.temporary), "TEMP": str(self.temporary), "PYTHONUNBUFFERED": "1"},
        )
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, name="log of the server")
        self._reader.start()
        assert self.process.stdout is not None
        announcement = self.process.stdout.readline()
        assert "127.0.0.1:" in announcement, (announcement, self._lines)
        self.port = int(announcement.partition("127.0.0.1:")[2].split()[0])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()

    def wait_for_log(self, pattern: str) -> None:
        """Waits for a line."""
        with self._news:
            found = self._news.wait_for(lambda: any(re.search(pattern, line) for line in self._lines), PATIENCE)
        assert found, (pattern, "".join(self._lines)[-5000:])

    def ask(self, name: str, body: str) -> tuple[int, bytes]:
        """Calls an animal over a new connection, and waits longer than the call's deadline."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG + PATIENCE)
        try:
            connection.request("POST", f"/{name}", body.encode())
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self, how: signal.Signals) -> int:
        """Stops the server and waits for its end."""
        self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive()  # no process holds the other end of its stderr
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def configuration(libraries: dict[str, Path], animals: list[Animal], echo: Path) -> dict[str, Any]:
    """One endpoint for each animal, and a healthy one."""
    plugins: dict[str, Any] = {
        animal.name: {
            "path": str(libraries[animal.name]),
            "timeout": LONG,
            "critical": False,
            "start_timeout": SHORT if animal.hangs and animal in AT_START else LONG,
            "restart": {"initial": "1ms", "maximum": "10ms"},
            "limits": LIMITS,
        }
        for animal in animals
    }
    plugins["healthy"] = {"path": str(echo)}
    return {
        "server": {"port": 0, "shutdown_timeout": "2s"},
        "plugins": {name: {"isolation": "process", "workers": 1, **plugin} for name, plugin in plugins.items()},
        "endpoints": {
            f"/{name}{ending}": {
                "method": "POST",
                "data": "body",
                "timeout": timeout,
                "runtime": {"type": "plugin", "handler": name},
            }
            for name in plugins
            for ending, timeout in (("", LONG), ("/hasty", SHORT))
        },
    }


@pytest.fixture(scope="module", name="server")
def _server(tmp_path_factory: pytest.TempPathFactory, libraries: dict[str, Path], echo: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("served"), libraries, [*BITING, *AT_START, *AT_END], echo)
    yield server
    if server.process.poll() is None:
        server.end(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)


@pytest.fixture(scope="module", name="healthy")
def _healthy(server: Server) -> Iterator[Healthy]:
    healthy = Healthy(server.port)
    yield healthy
    healthy.stop()


class TestServed:
    """Calls by an HTTP client of a server that runs all animals."""

    @pytest.mark.parametrize("animal", BITING, ids=ids)
    def test_bite(self, animal: Animal, server: Server, healthy: Healthy) -> None:
        """The client gets the right status, the log has plugin and cause, and the next request is served."""
        status, body = server.ask(f"{animal.name}/hasty" if animal.hangs else animal.name, "bite")

        if animal.recovers or status == animal.status:
            assert status == animal.status, body
        if status == 200:
            assert body.decode() == animal.answer
        else:
            problem = json.loads(body)
            assert problem["plugin"] == animal.name
            assert problem["detail"]
            if animal.recovers:
                assert re.search(animal.message, f"{problem['code']}: {problem['detail']}")
        if animal.log is not None:
            server.wait_for_log(rf"backworks\.plugin\.{animal.name}\b.*({animal.log})")
        status, body = server.ask(animal.name, "well")
        if animal.recovers:
            assert (status, body) == (200, b"well")
        else:
            assert (status, body) == (200, b"well") or json.loads(body)["detail"]
        assert healthy.is_answered(), healthy.failures

    @pytest.mark.parametrize("animal", AT_START, ids=ids)
    def test_not_started(self, animal: Animal, server: Server) -> None:
        """The endpoint of a plugin that did not start is 503 with the reason, which is also logged."""
        status, body = server.ask(animal.name, "well")

        assert status == 503
        assert re.search(animal.message, json.loads(body)["detail"])
        server.wait_for_log(rf"{animal.name}.*({animal.message})")

    @behind
    def test_end(self, server: Server, healthy: Healthy) -> None:
        """No request of the healthy client has failed; the server exits and leaves nothing behind."""
        healthy.stop()
        seen = has_mapped(server.temporary) | descendants(server.process.pid)
        code = server.end(signal.SIGTERM)

        assert not healthy.failures
        assert code == 0
        assert not wait_for_end(seen - {server.process.pid})
        assert not list(server.temporary.iterdir())


@behind
def test_host_killed(tmp_path: Path, libraries: dict[str, Path], echo: Path) -> None:
    """When the host is killed, its workers and their children end, whether in a call or not."""
    names = ("leaves_child", "leaves_daemon", "fork_bomb", "sleeps", "deaf_loop", "changes_process")
    animals = [animal for animal in BITING if animal.name in names]
    server = Server(tmp_path, libraries, [Animal(animal.name) for animal in animals], echo)
    callers = [threading.Thread(target=_bite_and_lose, args=(server, animal)) for animal in animals if animal.hangs]
    for animal in animals:
        if not animal.hangs:
            assert server.ask(animal.name, "bite") == (200, (animal.answer or "").encode())
    for caller in callers:
        caller.start()
    seen = has_mapped(server.temporary) | descendants(server.process.pid)
    server.end(signal.SIGKILL)
    for caller in callers:
        caller.join(PATIENCE)
    left = wait_for_end(seen)

    assert len(seen) > len(animals) + 40
    assert not left


def _bite_and_lose(server: Server, animal: Animal) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        server.ask(animal.name, "bite")


@behind
def test_crashes_do_not_leak(libraries: dict[str, Path]) -> None:
    """A hundred crashed workers leave no descriptor, no child process and little memory."""
    with backworks.load(libraries["exits"], isolation="process", **OPTIONS) as plugin:
        before = descriptors()
        gc.collect()
        gc.disable()  # counts memory that only the collector would free
        try:
            used = memory()
            for _ in range(100):
                with pytest.raises(PluginCrashed):
                    plugin.process_endpoint_data("/", data="bite")

            assert memory() - used < 6 << 20
        finally:
            gc.enable()

        assert plugin.process_endpoint_data("/", data="well") == "well"
        assert descriptors() == before
        assert workers(os.getpid()) == set(plugin.runner.pids)
