"""How the process of a check is started, watched and ended, with all that it has left.

A check runs in a process that the ``nursery`` forks off; where that cannot be, or the process has to begin with another
program, Python is started anew.
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
        """Ends it and its group of processes, and waits for its end."""
        ...


class Launcher:
    """Starts the processes of checks. A context manager, at whose end all of them are ended.

    The nursery stays for whoever comes next, until this process ends.

    Args:
        tool: A program that runs Python, with its arguments; ``{}`` in one is the directory of the process.
        environment: Variables that the processes need from their beginning.
    """

    def __init__(self, tool: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._tool = tool
        self._environment = {**os.environ, **(environment or {})}
        self._nursery = None if tool or environment or not _FORKS else _living_nursery()
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
        if self._nursery is not None:
            self._running.append(self._nursery.start(task))
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


class _Nursery:
    """This side of ``backworks.authoring.conformance.forkserver``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backworks.authoring.conformance.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101  # for the type checker
        assert self._process.stdout is not None  # noqa: S101  # for the type checker
        self._orders: IO[bytes] = self._process.stdin
        self._answers = self._process.stdout.fileno()
        self._pending = b""
        self._started: list[int] = []
        self.ended: dict[int, int] = {}

    def start(self, task: Task) -> _Forked:
        self.order({"task": task._asdict()})
        while not self._started:
            self.listen(wait=True)
        return _Forked(self, self._started.pop())

    def order(self, order: dict[str, Any]) -> None:
        self._orders.write(json.dumps(order).encode() + b"\n")
        self._orders.flush()

    def listen(self, *, wait: bool) -> None:
        """Takes in what has happened; waits until something has, if it is to."""
        while select.select([self._answers], [], [], None if wait else 0)[0]:
            chunk = os.read(self._answers, _CHUNK)
            if not chunk:
                raise OSError("the process that starts the tests has ended")
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                if "started" in answer:
                    self._started.append(answer["started"])
                else:
                    self.ended[answer["ended"]] = answer["code"]
            wait = False

    def lives(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._orders.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


_nurseries: list[_Nursery] = []


def _living_nursery() -> _Nursery:
    """Returns the nursery of this process, which starts one if there is none."""
    while _nurseries and not _nurseries[-1].lives():
        _nurseries.pop().close()
    if not _nurseries:
        _nurseries.append(_Nursery())
        atexit.register(_nurseries[-1].close)
    return _nurseries[-1]


class _Forked:
    def __init__(self, nursery: _Nursery, pid: int) -> None:
        self._nursery = nursery
        self._pid = pid
        self._exit: Exit | None = None

    def ended(self) -> Exit | None:
        if self._exit is None:
            self._nursery.listen(wait=False)
            code = self._nursery.ended.pop(self._pid, None)
            self._exit = None if code is None else _exit(code)
        return self._exit

    def kill(self) -> None:
        if self.ended() is None:
            self._nursery.order({"kill": self._pid})
            while self.ended() is None:
                self._nursery.listen(wait=True)


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
