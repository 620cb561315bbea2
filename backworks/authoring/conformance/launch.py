"""Starts, watches and kills the process of a check, with everything it leaves behind.

A check runs in a process forked by the ``forkserver``. Where fork is not available, or another program must run Python,
a new interpreter is started instead.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from backworks.isolation.process.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from backworks.authoring.conformance.child import Task

__all__ = ["Launcher", "Running", "sweep"]

_FORKS = sys.platform not in ("win32", "darwin")
_CHUNK = 1 << 16


class Running(Protocol):
    """A process that runs a check."""

    def ended(self) -> Exit | None:
        """Returns how it ended, or ``None`` while it runs."""
        ...

    def kill(self) -> None:
        """Kills the process and its process group, and waits for its end."""
        ...


class Launcher:
    """Starts the processes of checks. A context manager that kills all of them on exit.

    The fork server stays for later launchers, until this process exits.

    Args:
        tool: A program that runs Python, with its arguments; ``{}`` stands for the directory of the process.
        environment: Variables that the processes need at startup.
    """

    def __init__(self, tool: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._tool = tool
        self._environment = {**os.environ, **(environment or {})}
        self._forkserver = None if tool or environment or not _FORKS else _running_forkserver()
        self._running: list[Running] = []

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._running:
            each.kill()

    def start(self, task: Task) -> Running:
        """Starts the process of a check. Raises ``OSError``."""
        if self._forkserver is not None:
            self._running.append(self._forkserver.start(task))
            return self._running[-1]
        file = task.directory / "task"
        file.write_text(json.dumps(task._asdict()), encoding="utf-8")
        tool = [part.format(task.directory) for part in self._tool]
        with (task.directory / "stderr").open("ab") as stderr:
            process = subprocess.Popen(  # noqa: S603  # our own program
                [*tool, sys.executable, "-m", "backworks.authoring.conformance.single", str(file)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        self._running.append(_Started(process))
        return self._running[-1]


class _Started:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ended(self) -> Exit | None:
        code = self._process.poll()
        return None if code is None else _exit(code)

    def kill(self) -> None:
        if self._process.returncode is None:
            if sys.platform != "win32":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()


class _ForkServer:
    """The client of ``backworks.authoring.conformance.forkserver``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backworks.authoring.conformance.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101  # for the type checker
        assert self._process.stdout is not None  # noqa: S101  # for the type checker
        self._requests: IO[bytes] = self._process.stdin
        self._replies = self._process.stdout.fileno()
        self._pending = b""
        self._started: list[int] = []
        self.ended: dict[int, int] = {}

    def start(self, task: Task) -> _Forked:
        self.send({"task": task._asdict()})
        while not self._started:
            self.listen(wait=True)
        return _Forked(self, self._started.pop())

    def send(self, request: dict[str, Any]) -> None:
        self._requests.write(json.dumps(request).encode() + b"\n")
        self._requests.flush()

    def listen(self, *, wait: bool) -> None:
        """Reads all pending replies; with ``wait``, waits for the first one."""
        while select.select([self._replies], [], [], None if wait else 0)[0]:
            chunk = os.read(self._replies, _CHUNK)
            if not chunk:
                raise OSError("the fork server exited unexpectedly")
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            for line in lines:
                reply = json.loads(line)
                if "started" in reply:
                    self._started.append(reply["started"])
                else:
                    self.ended[reply["ended"]] = reply["code"]
            wait = False

    def is_running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


_forkservers: list[_ForkServer] = []


def _running_forkserver() -> _ForkServer:
    """Returns the fork server of this process; starts one if none is running."""
    while _forkservers and not _forkservers[-1].is_running():
        _forkservers.pop().close()
    if not _forkservers:
        _forkservers.append(_ForkServer())
        atexit.register(_forkservers[-1].close)
    return _forkservers[-1]


class _Forked:
    def __init__(self, server: _ForkServer, pid: int) -> None:
        self._server = server
        self._pid = pid
        self._exit: Exit | None = None

    def ended(self) -> Exit | None:
        if self._exit is None:
            self._server.listen(wait=False)
            code = self._server.ended.pop(self._pid, None)
            self._exit = None if code is None else _exit(code)
        return self._exit

    def kill(self) -> None:
        if self.ended() is None:
            self._server.send({"kill": self._pid})
            while self.ended() is None:
                self._server.listen(wait=True)


def _exit(code: int) -> Exit:
    if code >= 0:
        return Exit(None, code)
    try:
        return Exit(signal.Signals(-code).name, None)
    except ValueError:
        return Exit(f"signal {-code}", None)


def sweep(directory: Path) -> None:
    """Kills every process that has mapped a file of a directory: a child keeps the library, whoever its parent is.

    Only on Linux, which tells who has mapped what.
    """
    if sys.platform != "linux":
        return
    wanted = str(directory) + "/"
    for _ in range(16):
        others = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        killed = [pid for pid in others if pid != os.getpid() and _kill_if_mapped(pid, wanted)]
        if not killed:
            return


def _kill_if_mapped(pid: int, wanted: str) -> bool:
    """Kills a process whose list of mapped files has a text, and says whether it did."""
    # A process may end at any moment, which is ENOENT or ESRCH from whatever looks at it; or it is another user's.
    with contextlib.suppress(OSError):
        if wanted in Path(f"/proc/{pid}/maps").read_text("utf-8", "replace"):
            os.kill(pid, signal.SIGKILL)
            return True
    return False
