"""Plugins that attack the host from a worker process, while the real server answers other requests."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ECHO, PATIENCE, CompilePlugin
from leftovers import children, descendants
from test_http_server import Server
from unruly import is_alive

import backworks
from backworks import Plugin, PluginCrashed, PluginTimeout
from backworks.isolation.process import linux, posix, spawn
from backworks.isolation.process.supervisor import Supervisor
from backworks.settings import Restart

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the attacks use Linux's ptrace and /proc")

#: Takes a command as data, such as ``many 100``; any other data is echoed.
HOSTILE = ECHO.replace(
    "#include <backworks_plugin.h>",
    """
#define _GNU_SOURCE
#include <backworks_plugin.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void
rest(void)
{
  for (;;) {
    (void)pause();
  }
}

static int
await_byte(int fd)
{
  char byte;

  return read(fd, &byte, 1) == 1;
}

static void
send_byte(int fd)
{
  if (write(fd, "!", 1) != 1) {
    _exit(9);
  }
}

/* Traces a process from a child of this one, which never looks at its events. */
static void
trace(pid_t victim)
{
  int ready[2];

  if (pipe(ready) != 0) {
    abort();
  }
  (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  if (fork() == 0) {
    if (ptrace(PTRACE_SEIZE, victim, NULL, NULL) != 0) {
      _exit(1);
    }
    send_byte(ready[1]);
    rest();
  }
  (void)close(ready[1]);
  if (!await_byte(ready[0])) {
    abort();
  }
}

static void
begin_shell(char *command)
{
  if (fork() == 0) {
    (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(1);
  }
}

static void
begin_many(long count)
{
  while (count-- > 0 && fork() != 0) {
  }
  if (count >= 0) {
    rest();
  }
}

static void *
thread(void *unused)
{
  (void)unused;
  rest();
  return NULL;
}

static void
begin_threads(long count)
{
  pthread_attr_t small;
  pthread_t started;

  (void)pthread_attr_init(&small);
  (void)pthread_attr_setstacksize(&small, 16384);
  while (count-- > 0 && pthread_create(&started, &small, thread, NULL) == 0) {
  }
}

/* A process that starts its successor and exits, for ever; with a session for each, if wanted. */
static void
begin_relay(int sessions)
{
  if (fork() == 0) {
    (void)setsid();
    for (;;) {
      pid_t next = fork();

      if (next > 0) {
        _exit(0);
      }
      if (next == 0 && sessions) {
        (void)setsid();
      }
    }
  }
}

/* Starts a program that neither its parent, nor its session, nor its environment connects with this process. */
static void
begin_daemon(const char *program)
{
  char *arguments[] = { "sleep", "1000", NULL };
  char *environment[] = { NULL };
  int ready[2];

  if (pipe(ready) != 0) {
    abort();
  }
  if (fork() == 0) {
    (void)setsid();
    if (fork() == 0) {
      send_byte(ready[1]);
      (void)execve(program, arguments, environment);
      _exit(1);
    }
    _exit(0);
  }
  (void)await_byte(ready[0]);
}

static void
orphan(void)
{
  int status = 0;
  pid_t child = fork();

  if (child == 0) {
    if (fork() == 0) {
      (void)usleep(1000);
    }
    _exit(0);
  }
  (void)waitpid(child, &status, 0);
}

/* Returns the exit code of a child that has long ended when this process waits for it. */
static int
wait_late(int code)
{
  int status = 0;
  pid_t child = fork();

  if (child == 0) {
    _exit(code);
  }
  (void)usleep(50000);
  return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
""",
).replace(
    "  (void)plugin;\n  return backworks_answer(",
    """
  char text[4096];
  size_t size = request->data_size < sizeof text - 1 ? request->data_size : sizeof text - 1;
  char *argument;
  long number;

  (void)plugin;
  memcpy(text, request->data, size);
  text[size] = 0;
  argument = strchr(text, ' ') != NULL ? strchr(text, ' ') + 1 : "";
  number = strtol(argument, NULL, 10);
  if (strncmp(text, "trace", 5) == 0) {
    trace(number != 0 ? (pid_t)number : getpid());
  } else if (strncmp(text, "shell", 5) == 0) {
    begin_shell(argument);
  } else if (strncmp(text, "many", 4) == 0) {
    begin_many(number);
  } else if (strncmp(text, "threads", 7) == 0) {
    begin_threads(number);
  } else if (strncmp(text, "relay", 5) == 0) {
    begin_relay((int)number);
  } else if (strncmp(text, "daemon", 6) == 0) {
    begin_daemon(argument);
  } else if (strncmp(text, "hold", 4) == 0) {
    (void)open(argument, O_WRONLY); /* inherited by every descendant */
  } else if (strncmp(text, "orphans", 7) == 0) {
    while (number-- > 0) {
      orphan();
    }
  } else if (strncmp(text, "exit", 4) == 0) {
    _exit((int)number);
  } else if (strcmp(text, "abort") == 0) {
    abort();
  } else if (strcmp(text, "hang") == 0) {
    rest();
  } else if (strncmp(text, "parent", 6) == 0) {
    (void)kill(getppid(), (int)number);
    if (number == SIGKILL) {
      rest();
    }
  } else if (strncmp(text, "wait", 4) == 0) {
    (void)snprintf(text, sizeof text, "%d", wait_late((int)number));
    return backworks_answer(response, text, strlen(text));
  } else if (strcmp(text, "pid") == 0) {
    (void)snprintf(text, sizeof text, "%d", (int)getpid());
    return backworks_answer(response, text, strlen(text));
  }
  return backworks_answer(""",
)


def nest(directory: Path, depth: int, prefix: str = "") -> str:
    """Returns a shell command that starts nested processes, each the parent of the next."""
    script = directory / "nest.sh"
    script.write_text(f'if [ "$1" -gt 1 ]; then {prefix} sh "$0" $(($1 - 1)); else sleep 1000; fi; :\n')
    return f"sh {script} {depth}; :"


class Pulse:
    """Asks a server for /healthz every 10 ms while the block runs, and at least once after its end.

    Attributes:
        longest: The longest wait for an answer in seconds.
    """

    def __init__(self, port: int) -> None:
        self.longest = 0.0
        self._port = port
        self._over = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        assert self._failed is None, self._failed

    def _run(self) -> None:
        try:
            last = False
            while not last:
                last = self._over.wait(0.01)
                begun = time.monotonic()
                assert ask(self._port, "/healthz")[0] == 200
                self.longest = max(self.longest, time.monotonic() - begun)
        except BaseException as error:
            self._failed = error


def ask(port: int, path: str, data: str | None = None) -> tuple[int, str]:
    """Sends one request and returns the status and the body of its response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET" if data is None else "POST", path, data, {"Content-Type": "text/plain"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def eventually(condition: Callable[[], object]) -> None:
    """Waits for a condition that another process fulfils."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


class Leash:
    """A pipe that the worker and its descendants hold open, so that its end shows that none is left."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "leash"
        os.mkfifo(self.path)
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def __enter__(self) -> Leash:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def is_free(self, seconds: float = PATIENCE) -> bool:
        """Waits until no process holds it."""
        poll = select.poll()
        poll.register(self._descriptor, 0)  # POLLHUP always counts
        return bool(poll.poll(seconds * 1000))


@pytest.fixture(scope="module", name="hostile")
def _hostile(compile_plugin: CompilePlugin) -> Path:
    return compile_plugin(HOSTILE, "hostile", ["-pthread"])


@pytest.fixture(name="server")
def _server(hostile: Path, tmp_path: Path) -> Iterator[Server]:
    """Serves the plugin twice, so that one worker can attack the other."""
    plugin = {"path": str(hostile), "isolation": "process", "timeout": "2s", "breaker": {"failures": 1000}}
    config = {
        "server": {"port": 0},
        "plugins": {"one": plugin, "two": plugin},
        "endpoints": {
            f"/{name}": {"methods": ["POST"], "data": "body", "runtime": {"handler": name}} for name in ("one", "two")
        },
    }
    path = tmp_path / "backworks.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    server = Server("fast", path)
    yield server
    if server.process.poll() is None:
        left = descendants(server.process.pid)
        server.process.kill()
        for pid in left:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
    server.process.communicate()


@pytest.fixture(name="load")
def _load(hostile: Path) -> Iterator[Callable[..., Plugin]]:
    """Loads the plugin in this process."""
    loaded: list[Plugin] = []

    def load(**options: Any) -> Plugin:
        settings: dict[str, Any] = {"restart": Restart(initial=0.001, maximum=0.002), "breaker": None}
        loaded.append(backworks.load(hostile, isolation="process", **settings | options))
        return loaded[-1]

    yield load
    for plugin in loaded:
        plugin.close(PATIENCE)


def said(server: Server, command: str, plugin: str = "one") -> str:
    """Gives the plugin a command that it must answer."""
    status, body = ask(server.port, f"/{plugin}", command)
    assert status == 200, body
    return body


def recovers(server: Server, plugin: str = "one") -> None:
    """Waits until the plugin answers again."""
    eventually(lambda: ask(server.port, f"/{plugin}", "hello") == (200, "hello"))


class TestServer:
    """The server goes on whatever a worker does."""

    @pytest.mark.parametrize("tracer", ["its own child", "another worker", "another worker of the guardian"])
    def test_traced(self, server: Server, tracer: str) -> None:
        """A worker whose exit status a tracer withholds only fails its own call, and SIGTERM still ends the server."""
        with Pulse(server.port):
            worker = int(said(server, "pid"))
            victim = parent_of(worker) if tracer.endswith("guardian") else worker
            if tracer == "its own child":
                said(server, "trace")
            else:  # the kernel does not let an ordinary user trace a guardian
                assert ask(server.port, "/two", f"trace {victim}")[0] in (200, 502)
            assert ask(server.port, "/one", "exit 0")[0] == 502
            recovers(server)
        server.process.terminate()

        assert server.end()[0] == 0

    def test_nested(self, server: Server, tmp_path: Path) -> None:
        """A worker with 1,100 nested descendants is killed with all of them when its call is late."""
        with Pulse(server.port):
            said(server, f"shell {nest(tmp_path, 1100)}")
            eventually(lambda: len(descendants(server.process.pid)) > 1100)
            assert ask(server.port, "/one", "hang")[0] == 504
            recovers(server)
            eventually(lambda: len(descendants(server.process.pid)) < 100)

    @pytest.mark.parametrize("commands", [("many 2000",), ("threads 8000",), ("threads 8000", "relay 0")])
    def test_crowd(self, server: Server, commands: tuple[str, ...]) -> None:
        """A worker with thousands of processes or threads is killed with all of them when its call is late."""
        with Pulse(server.port) as pulse:
            for command in commands:
                assert ask(server.port, "/one", command)[0] in (200, 504)
            assert ask(server.port, "/one", "hang")[0] == 504
            recovers(server)
            eventually(lambda: len(descendants(server.process.pid)) < 100)
        print(f"longest wait for /healthz: {pulse.longest:.3f} s")

    @pytest.mark.parametrize("command", ["relay 0", "daemon"])
    def test_killed(self, server: Server, tmp_path: Path, command: str) -> None:
        """Nothing that a plugin has started survives the SIGKILL of the server."""
        with Leash(tmp_path) as leash:
            said(server, f"hold {leash.path}")
            said(server, f"{command} {shutil.which('sleep')}" if command == "daemon" else command)
            server.process.kill()

            assert leash.is_free()


def call(plugin: Plugin, command: str, **options: Any) -> str | None:
    """Gives the plugin a command."""
    return plugin.process_endpoint_data("/x", data=command, **options)


def end_by_timeout(plugin: Plugin) -> None:
    """Makes the host kill the worker."""
    with pytest.raises(PluginTimeout):
        call(plugin, "hang", timeout=0.05)


def end_by_crash(plugin: Plugin) -> None:
    """Makes the worker end itself."""
    with pytest.raises(PluginCrashed, match="SIGABRT"):
        call(plugin, "abort")


def end_by_close(plugin: Plugin) -> None:
    """Shuts the plugin down."""
    plugin.close(PATIENCE)


class TestLeftovers:
    """What a plugin has started."""

    @pytest.mark.parametrize("end", [end_by_timeout, end_by_crash, end_by_close])
    @pytest.mark.parametrize("command", ["nest", "nest setsid", "many 50", "relay 0", "relay 1", "daemon"])
    def test_none_survives(
        self, load: Callable[..., Plugin], tmp_path: Path, command: str, end: Callable[[Plugin], None]
    ) -> None:
        """Descendants end with the worker, even after a fork, a new session and another program."""
        plugin = load()
        with Leash(tmp_path) as leash:
            call(plugin, f"hold {leash.path}")
            if command.startswith("nest"):
                command = f"shell {nest(tmp_path, 50, command[5:])}"
            elif command == "daemon":
                command = f"daemon {shutil.which('sleep')}"
            call(plugin, command)
            assert not leash.is_free(0)
            end(plugin)

            assert leash.is_free()

    def test_orphans(self, load: Callable[..., Plugin]) -> None:
        """Orphans are reaped while the worker serves."""
        plugin = load()
        worker = int(call(plugin, "pid") or 0)
        call(plugin, "orphans 60")
        (guardian,) = children(os.getpid()) & {parent_of(worker)}

        eventually(lambda: descendants(guardian) == {worker})
        assert call(plugin, "pid") == str(worker)

    def test_own_children(self, load: Callable[..., Plugin]) -> None:
        """A plugin receives the exit status of its own children, however late it asks for it."""
        plugin = load()
        for code in range(5):
            call(plugin, "orphans 5")

            assert call(plugin, f"wait {code}") == str(code)


def parent_of(process: int) -> int:
    """Returns the parent of a process."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


class TestGuardian:
    """Attacks on the process between the host and the worker."""

    def test_stopped(self, load: Callable[..., Plugin]) -> None:
        """A plugin that stops its guardian and crashes only fails its own call."""
        plugin = load()
        call(plugin, f"parent {int(signal.SIGSTOP)}")
        end_by_crash(plugin)

        assert call(plugin, "hello") == "hello"

    def test_killed(self, load: Callable[..., Plugin], tmp_path: Path) -> None:
        """A plugin that kills its guardian ends with it, and the host finds what inherited its environment."""
        plugin = load()
        with Leash(tmp_path) as leash:
            call(plugin, f"hold {leash.path}")
            call(plugin, "many 10")
            with pytest.raises(PluginCrashed):
                call(plugin, f"parent {int(signal.SIGKILL)}")

            assert call(plugin, "hello") == "hello"
            assert leash.is_free()


class TestSystems:
    """Hosts that differ."""

    def test_no_process_descriptors(self, load: Callable[..., Plugin], monkeypatch: pytest.MonkeyPatch) -> None:
        """On a kernel without process descriptors, the guardian's report shows the end of a worker."""
        receive = linux._receive_worker

        def receive_number(control: socket.socket) -> tuple[int, None]:
            pid, handle = receive(control)
            if handle is not None:
                os.close(handle)
            return pid, None

        monkeypatch.setattr(linux, "_receive_worker", receive_number)
        plugin = load()
        end_by_crash(plugin)
        end_by_timeout(plugin)

        assert call(plugin, "hello") == "hello"

    def test_ignored_children(self, load: Callable[..., Plugin]) -> None:
        """A host that ignores SIGCHLD, so that the kernel reaps its children, still learns how a worker ended."""
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            plugin = load()
            end_by_crash(plugin)

            assert call(plugin, "hello") == "hello"
            end_by_close(plugin)
        finally:
            signal.signal(signal.SIGCHLD, before)


class TestSupervisor:
    """The thread that watches the workers."""

    def test_lost_wake_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The thread ends although the wake-up that should end it gets lost."""
        watching = Supervisor()
        asleep = threading.Event()
        watching.post(asleep.set)
        asleep.wait(PATIENCE)
        wake = watching.loop._write_to_self  # type: ignore[attr-defined]
        lost: list[bool] = []

        def lose_first() -> None:
            if lost:
                wake()
            lost.append(True)

        monkeypatch.setattr(watching.loop, "_write_to_self", lose_first)
        ending = threading.Thread(target=watching.stop, daemon=True)
        ending.start()
        ending.join(PATIENCE)

        assert not ending.is_alive()
        assert watching.loop.is_closed()


class TestOtherSystems:
    """What a host does where there is no guardian; the module runs on Linux, too."""

    @pytest.fixture(autouse=True)
    def _without_guardian(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spawn, "start", posix.start)

    def test_ends(self, load: Callable[..., Plugin], tmp_path: Path) -> None:
        """A crash, a timeout and a shutdown end the worker and its process group."""
        plugin = load()
        for number, end in enumerate((end_by_crash, end_by_timeout, end_by_close)):
            (directory := tmp_path / str(number)).mkdir()
            with Leash(directory) as leash:
                call(plugin, f"hold {leash.path}")
                call(plugin, "many 5")
                end(plugin)

                assert leash.is_free()

    def test_traced(self, load: Callable[..., Plugin]) -> None:
        """A worker whose end a tracer hides only fails its own call."""
        plugin = load()
        call(plugin, "trace")
        with pytest.raises(PluginTimeout):
            call(plugin, "exit 0", timeout=0.05)

        assert call(plugin, "hello", timeout=PATIENCE) == "hello"


#: Runs below a process that adopts orphans as process 1 does; starts one, and ends with code 7 on SIGTERM.
BELOW = """
import ctypes, os, signal, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
from backworks.cli.init import run_below
run_below()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
subprocess.run(["sh", "-c", "sleep 0.01 &"], check=True)
print(os.getpid(), flush=True)
while True:
    signal.pause()
"""


class TestProcess1:
    """The server as the first process of a container."""

    def test_reaps(self) -> None:
        """Process 1 reaps orphans, forwards SIGTERM, and ends with the exit code of the server."""
        with subprocess.Popen([sys.executable, "-c", BELOW], stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            server = int(first.stdout.readline())
            eventually(lambda: children(first.pid) == {server})
            first.terminate()

            assert first.wait(PATIENCE) == 7


class TestKill:
    """The event loop."""

    def test_no_search(self, load: Callable[..., Plugin]) -> None:
        """The event loop does not search for processes when it kills a worker."""
        plugin = load()
        call(plugin, "many 20")
        with Searches() as searches:
            with pytest.raises(PluginTimeout):
                asyncio.run(plugin.process_endpoint_data_async("/x", data="hang", timeout=0.05))

        assert searches.seen == []


class Searches:
    """Records which files of /proc this thread opens or lists while the block runs."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._thread = threading.get_ident()
        self._active = False
        sys.addaudithook(self._hook)

    def __enter__(self) -> Searches:
        self._active = True
        return self

    def __exit__(self, *_: object) -> None:
        self._active = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._active and threading.get_ident() == self._thread and event in ("open", "os.listdir", "os.scandir"):
            path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
            if path.startswith("/proc"):
                self.seen.append(path)
