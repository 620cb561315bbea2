"""Starts, watches, kills and reaps worker processes on Linux, macOS and similar systems.

A process is only killed before it is reaped, because until then the system cannot reuse its id or its group's.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from backworks.isolation.process.exits import Exit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Pipes", "Process", "start"]

#: How often to search a tree of processes. Each round kills the processes it finds; their children then become children
#: of the worker, which is stopped and cannot start more.
_ROUNDS = 16

#: The environment variable that identifies the descendants of a worker, which inherit it unless they remove it.
_MARK = "BACKWORKS_WORKER"


class Pipes(NamedTuple):
    """The host's ends of a worker's pipes."""

    requests: int
    replies: int
    stderr: int
    log: int

    def close(self) -> None:
        """Closes them all."""
        for descriptor in self:
            os.close(descriptor)


class Process:
    """A worker process from its start until it is reaped. Thread-safe.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self.pid = process.pid
        self._process = process
        self._mark = f"{_MARK}={mark}".encode()
        self._ending = threading.Lock()
        self._watch = _watch_exit(self.pid)

    def fileno(self) -> int:
        """Returns a descriptor that becomes readable when the process has ended."""
        return self._watch if isinstance(self._watch, int) else self._watch.fileno()

    def watch(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        """Makes an event loop call a function when the process has ended."""
        loop.add_reader(self.fileno(), ended)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the effect of :meth:`watch`."""
        loop.remove_reader(self.fileno())

    def kill(self) -> None:
        """Kills the process and its descendants; does nothing after the process has been reaped."""
        with self._ending:
            if self._process.returncode is None:
                if sys.platform == "linux":
                    _kill_descendants(self.pid)
                _kill_group(self.pid)

    def reap(self) -> Exit:
        """Kills the rest of the process group, reaps the ended process, and returns how it ended."""
        with self._ending:
            try:
                if hasattr(os, "waitid"):  # not on macOS
                    os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:  # a SIGCHLD handler of the host has reaped the process
                self._process.returncode = 0
                return Exit(None, None)
            _kill_group(self.pid)
            code = self._process.wait()
        return Exit(_signal_name(-code), None) if code < 0 else Exit(None, code)

    def sweep(self) -> None:
        """Kills descendants that left the process group and outlived the process; must be called after a crash."""
        if sys.platform == "linux":
            _kill_marked(self._mark)

    def close(self) -> None:
        """Closes the descriptor of :meth:`fileno`."""
        if isinstance(self._watch, int):
            os.close(self._watch)
        else:
            self._watch.close()

    def forget(self) -> None:
        """Releases the process without affecting it; for a forked child, because the process belongs to its parent."""
        self._process.returncode = 0
        self.close()


def start(
    program: Path, options: Sequence[str], descriptors: Sequence[int], environment: Mapping[str, str]
) -> tuple[Process, Pipes]:
    """Starts the worker program in a new session.

    Args:
        program: The program.
        options: Its options, except those for its pipes.
        descriptors: The descriptors that it inherits in addition to its pipes.
        environment: Its complete environment.

    Raises:
        OSError: The program cannot be started.
    """
    mark = secrets.token_hex(16)
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        ends = []
        for host_writes in (True, False, False, False):
            reading, writing = os.pipe()
            mine, other = (writing, reading) if host_writes else (reading, writing)
            ours.callback(os.close, mine)
            theirs.callback(os.close, other)
            os.set_blocking(mine, False)
            ends.append((mine, other))
        requests, replies, stderr, log = (other for _, other in ends)
        process = Process(
            subprocess.Popen(  # noqa: S603  # it is our own program
                [program, "--log", str(log), *options],
                stdin=requests,
                stdout=replies,
                stderr=stderr,
                pass_fds=(log, *descriptors),
                env={**environment, _MARK: mark},
                start_new_session=True,
            ),
            mark,
        )
        ours.pop_all()
    return process, Pipes(*(mine for mine, _ in ends))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _kill_group(leader: int) -> None:
    # macOS reports EPERM for a group in which all processes have ended.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


if sys.platform == "linux":

    def _kill_descendants(pid: int) -> None:
        """Stops the process and kills all its descendants, also those that have left the process group."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        killed: set[int] = set()
        for _ in range(_ROUNDS):
            found = [child for child in _descendants(pid) if child not in killed]
            if not found:
                return
            for child in found:
                killed.add(child)
                _kill_child(child)

    def _kill_child(pid: int) -> None:
        # The parent may reap the process at any time; only a descriptor identifies it reliably.
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)

    def _kill_marked(mark: bytes) -> None:
        """Kills every process that was started with a mark in its environment."""
        for _ in range(_ROUNDS):
            found = False
            # Not glob, which fails if a process ends during the search.
            for process in [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]:
                environment = process / "environ"
                with contextlib.suppress(OSError):  # the process has ended, or belongs to another user
                    if mark in environment.read_bytes():
                        descriptor = os.pidfd_open(int(process.name))
                        try:
                            if mark in environment.read_bytes():  # the id has not been reused
                                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                                found = True
                        finally:
                            os.close(descriptor)
            if not found:
                return

    def _descendants(pid: int) -> Iterator[int]:
        with contextlib.suppress(OSError):  # the process has ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                for child in _children(task):
                    yield child
                    yield from _descendants(child)

    def _children(task: Path) -> list[int]:
        """Returns the children of a thread: none if it has ended."""
        try:
            return [int(child) for child in (task / "children").read_text("ascii").split()]
        except OSError:
            return []


def _watch_exit(pid: int) -> Any:
    """Returns a descriptor, or an object with one, that becomes readable when the process ends, before it is reaped."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel before 5.3, or forbidden
            return os.pidfd_open(pid)
    elif hasattr(select, "kqueue"):
        queue = select.kqueue()
        try:
            event = select.kevent(
                pid,
                filter=select.KQ_FILTER_PROC,
                flags=select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
                fflags=select.KQ_NOTE_EXIT,
            )
            queue.control([event], 0)
        except ProcessLookupError:  # the process has already ended
            queue.close()
            reading, writing = os.pipe()
            os.close(writing)  # makes the other end permanently readable
            return reading
        return queue
    reading, writing = os.pipe()

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(writing)

    threading.Thread(target=wait, name="backworks-exit", daemon=True).start()
    return reading
