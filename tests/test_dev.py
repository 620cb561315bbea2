"""``backworks plugin dev``: a saved change is built and served, and a failed build changes nothing."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, missing

from backworks.authoring.project import SOURCES, create_project
from backworks.authoring.toolchains import Job, toolchain_of
from backworks.errors import ToolNotFound


class Session:
    """One run of the command, and its output."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backworks", "plugin", "dev", str(directory), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.put(line)

    def until(self, pattern: str) -> re.Match[str]:
        """Waits for a line; returns what the pattern found in it."""
        while True:
            line = self.lines.get(timeout=PATIENCE)
            print(line, end="")
            if match := re.search(pattern, line):
                return match

    def until_served(self) -> str:
        """Waits until it serves, and returns where."""
        return self.until(r"Serving 1 endpoint on (http://\S+)")[1]

    def close(self) -> None:
        """Stops the command unconditionally; its compilers hold the pipe only while they run."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(PATIENCE)

    def end(self) -> int:
        """Ends it as Ctrl-C does; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture(name="start")
def _start() -> Iterator[list[Session]]:
    """Sessions that are closed after the test, even if it fails."""
    sessions: list[Session] = []
    yield sessions
    for session in sessions:
        session.close()


def project(language: str, parent: Path) -> Path:
    """Creates a project, if its language can be built here."""
    directory = create_project("hello", language, parent)
    try:
        toolchain_of(directory).steps(Job(directory, directory / "build", "hello"))
    except ToolNotFound as error:
        missing(str(error))
    return directory


def hello(url: str) -> str:
    """Returns the answer of the endpoint."""
    with urllib.request.urlopen(f"{url}/hello", data=b"Ada", timeout=PATIENCE) as answer:
        return str(answer.read().decode())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal of this kind to one process")
@pytest.mark.parametrize("language", ["c", "cpp", "go"])
def test_follows(language: str, tmp_path: Path, start: list[Session]) -> None:
    """A saved change is answered once it is compiled; a broken one is told while the old answer stays."""
    directory = project(language, tmp_path)
    source = directory / SOURCES[language]
    good = source.read_text(encoding="utf-8")
    session = Session(directory)
    start.append(session)
    url = session.until_served()
    assert hello(url) == "Hello, Ada!"

    source.write_text(good.replace('"Hello, ', '"Welcome, '), encoding="utf-8")
    session.until(r"backworks: built .*hello\S+ in [\d.]+ s$")
    session.until("plugin.hello: ready to greet")
    session.until("configuration reloaded: hello replaced")
    assert hello(url) == "Welcome, Ada!"

    source.write_text(good.replace("/hello", "/hello\n"), encoding="utf-8")
    session.until(rf"{re.escape(source.name)}:\d+")
    session.until("the previous build stays in service")
    assert hello(url) == "Welcome, Ada!"

    source.write_text(good.replace('"Hello, ', '"Good day, '), encoding="utf-8")
    session.until("configuration reloaded")
    assert hello(url) == "Good day, Ada!"

    assert session.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal of this kind to one process")
class TestC:
    """Tests in C, which compiles fastest."""

    def test_broken_at_first(self, tmp_path: Path, start: list[Session]) -> None:
        """A project that does not compile at startup is served as soon as it does."""
        directory = project("c", tmp_path)
        source = directory / "plugin.c"
        good = source.read_text(encoding="utf-8")
        source.write_text("oops\n", encoding="utf-8")
        session = Session(directory)
        start.append(session)
        session.until("waiting for a change to build again")
        source.write_text(good, encoding="utf-8")

        assert hello(session.until_served()) == "Hello, Ada!"

    def test_interrupted_build(self, tmp_path: Path, start: list[Session]) -> None:
        """Ctrl-C kills a build that hangs, with all its processes."""
        directory = project("c", tmp_path)
        mark = tmp_path / "pid"
        makefile = directory / "Makefile"
        text = makefile.read_text(encoding="utf-8")
        makefile.write_text(text.replace("\tmkdir", f"\tsleep 1000 & echo $$! > {mark}; echo hangs; wait\n\tmkdir"))
        session = Session(directory)
        start.append(session)
        session.until("^hangs")

        assert session.end() == 130
        deadline = time.monotonic() + PATIENCE
        pid = int(mark.read_text())
        while time.monotonic() < deadline:
            try:
                os.kill(pid, 0)
                if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                    break
            except (ProcessLookupError, FileNotFoundError):
                break
        else:
            pytest.fail("a process of the build is still running")

    def test_configuration(self, tmp_path: Path, start: list[Session]) -> None:
        """A changed configuration is served as well; an invalid one is reported with its position."""
        directory = project("c", tmp_path)
        config = directory / "backworks.yaml"
        good = config.read_text(encoding="utf-8")
        session = Session(directory)
        start.append(session)
        url = session.until_served()

        config.write_text(good.replace("timeout: 2s", "timeout: soon"), encoding="utf-8")
        session.until(r"backworks.yaml:\d+:\d+: plugins.hello.timeout")
        session.until("the previous build stays in service")
        assert hello(url) == "Hello, Ada!"

        config.write_text(good.replace("  /hello:", "  /hello:\n    timeout: 1s"), encoding="utf-8")
        session.until("configuration reloaded")
        assert hello(url) == "Hello, Ada!"

    def test_does_not_start(self, tmp_path: Path, start: list[Session]) -> None:
        """If a plugin compiles but does not start, the old one stays in service and the reason is reported."""
        directory = project("c", tmp_path)
        source = directory / "plugin.c"
        good = source.read_text(encoding="utf-8")
        session = Session(directory)
        start.append(session)
        url = session.until_served()

        refuses = '  free(plugin);\n  return backworks_fail(error, BACKWORKS_UNAVAILABLE, "not today");\n  *out'
        source.write_text(good.replace("  *out", refuses), encoding="utf-8")
        session.until("reload failed, keeping the current configuration: hello: UNAVAILABLE: not today")
        assert hello(url) == "Hello, Ada!"

    def test_missing_tool(self, tmp_path: Path) -> None:
        """Without its tools the command exits at once, with what to install and its own exit code."""
        directory = project("c", tmp_path)
        done = subprocess.run(
            [sys.executable, "-m", "backworks", "plugin", "dev", str(directory)],
            env=os.environ | {"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 6
        assert done.stderr.startswith("backworks: GNU make is not installed: ")
        shutil.rmtree(directory)
