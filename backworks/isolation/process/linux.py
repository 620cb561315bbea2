"""Starts, watches, kills and reaps worker processes on Linux.

The host starts a guardian, which starts the worker; see section 10 of PROTOCOL.md. The guardian finds and kills what
the plugin has started, so the host never searches for processes unless the plugin has ended the guardian.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.isolation.process.exits import Exit
from backworks.isolation.process.pipes import Pipes, launch
from backworks.isolation.process.reaping import Child, leave, reap_left, signal_name, when_reaped

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Pipes", "Process", "start"]

#: A message of the guardian: two numbers.
_MESSAGE = struct.Struct("=ii")
#: How many seconds a guardian may take to start its worker.
_START = 30.0
#: How many seconds a guardian may take to report the end of its worker, and after how many it is continued in case the
#: plugin has stopped it. Not at once, because a tracer holds a process that receives SIGCONT.
_REPORT, _STOPPED = 5.0, 0.2
#: How many seconds a guardian may take to end everything else before the host does not wait for it any longer.
_CLEAN = 3.0
#: How many seconds to search for processes that the guardian does not end.
_SEARCH = 10.0

#: The environment variable that identifies the descendants of a worker, which inherit it unless they remove it.
_MARK = "BACKWORKS_WORKER"


class Process:
    """A worker process and its guardian until both have ended. Thread-safe; no method waits.

    Attributes:
        pid: The process id of the worker.

    Args:
        pid: The process id of the worker.
        handle: A descriptor of the worker's process, or ``None`` if the kernel has none.
        guardian: The guardian.
        control: The socket to the guardian.
        mark: The value of the environment variable that identifies the worker's descendants.
    """

    def __init__(self, pid: int, handle: int | None, guardian: Child, control: socket.socket, mark: str) -> None:
        self.pid = pid
        self._handle = handle
        self._guardian = guardian
        self._control = control
        self._mark = f"{_MARK}={mark}".encode()
        self._lock = threading.Lock()
        self._closed = False
        self._timers: tuple[asyncio.TimerHandle, ...] = ()

    def fileno(self) -> int:
        """Returns a descriptor that becomes readable when the process has ended."""
        return self._control.fileno() if self._handle is None else self._handle

    def watch(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        """Makes an event loop call a function when the process has ended and its guardian has reported or is late."""
        loop.add_reader(self.fileno(), self._ended, loop, ended)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the effect of :meth:`watch`."""
        loop.remove_reader(self.fileno())
        loop.remove_reader(self._control)
        for timer in self._timers:
            timer.cancel()

    def kill(self) -> None:
        """Kills the process, and makes the guardian kill its descendants. Idempotent."""
        with self._lock:
            if self._closed:
                return
            if self._handle is not None:
                with contextlib.suppress(OSError):  # the process has ended
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            with contextlib.suppress(OSError):  # the guardian has ended
                self._control.shutdown(socket.SHUT_WR)
            if self._handle is None:
                self._guardian.signal(signal.SIGCONT)  # only the guardian can kill the process

    def reap(self) -> Exit:
        """Returns how the process ended, which is unknown if the guardian has not reported it."""
        try:
            message = self._control.recv(_MESSAGE.size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            way, number = _MESSAGE.unpack(message)
        except (OSError, struct.error):
            return Exit(None, None)
        if way == os.CLD_EXITED:
            return Exit(None, number)
        return Exit(signal_name(number), None) if way else Exit(None, None)

    def finish(self, loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
        """Ends what is left of the process, its descendants and its guardian, and calls a function after that.

        If something does not end within a few seconds, it is left behind.
        """
        self.kill()
        when_reaped(loop, self._guardian, lambda reaped: self._finish(loop, done, reaped=reaped), _CLEAN)

    def close(self) -> None:
        """Closes the descriptors."""
        with self._lock:
            self._closed = True
            self._control.close()
            if self._handle is not None:
                os.close(self._handle)

    def forget(self) -> None:
        """Releases the process without affecting it; for a forked child, because the process belongs to its parent."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._guardian.forget()
        self.close()

    def _ended(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        """Waits for the report after the end of the process."""
        loop.remove_reader(self.fileno())
        loop.add_reader(self._control, ended)
        self._timers = (
            loop.call_later(_STOPPED, self._guardian.signal, signal.SIGCONT),
            loop.call_later(_REPORT, ended),
        )

    def _finish(self, loop: asyncio.AbstractEventLoop, done: Callable[[], object], *, reaped: bool) -> None:
        if not reaped or self._guardian.how not in (Exit(None, 0), Exit(None, None)):
            # The plugin has ended the guardian, or holds it with a tracer, or has a process that cannot be killed, or
            # the system does not make the guardian the parent of orphans.
            arguments = (self._mark, self._guardian.pid)
            threading.Thread(target=_kill_marked, args=arguments, name="backworks-search", daemon=True).start()
        if not reaped:
            leave(self._guardian)
        done()


def start(
    program: Path, options: Sequence[str], descriptors: Sequence[int], environment: Mapping[str, str]
) -> tuple[Process, Pipes]:
    """Starts the worker program, with a guardian, each in a new session.

    Args:
        program: The program.
        options: Its options, except those for its pipes and the guardian.
        descriptors: The descriptors that it inherits in addition to its pipes.
        environment: Its complete environment.

    Raises:
        OSError: The program cannot be started.
    """
    reap_left()
    mark = secrets.token_hex(16)
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as failed:
        failed.callback(control.close)
        with theirs:
            number = theirs.fileno()
            arguments = (*options, "--guard", str(number))
            process, pipes = launch(program, arguments, (number, *descriptors), {**environment, _MARK: mark})
        failed.callback(pipes.close)
        guardian = Child(process)
        failed.callback(_abandon, guardian)
        pid, handle = _receive_worker(control)
        failed.pop_all()
    return Process(pid, handle, guardian, control, mark), pipes


def _receive_worker(control: socket.socket) -> tuple[int, int | None]:
    """Returns the id and the descriptor of the worker process that the guardian has started."""
    control.settimeout(_START)
    message, handles, _, _ = socket.recv_fds(control, _MESSAGE.size, 1, socket.MSG_CMSG_CLOEXEC)
    control.setblocking(False)  # the standard library's signature
    if len(message) != _MESSAGE.size:
        raise OSError("the worker program ended before it was ready")
    error, pid = _MESSAGE.unpack(message)
    if error:
        raise OSError(error, os.strerror(error))
    return pid, handles[0] if handles else None


def _abandon(guardian: Child) -> None:
    guardian.signal(signal.SIGKILL)
    if not guardian.poll():
        leave(guardian)


def _kill_marked(mark: bytes, spared: int) -> None:
    """Kills every process but one that was started with a mark in its environment, as long as there are any."""
    until = time.monotonic() + _SEARCH
    while time.monotonic() < until and _kill_marked_once(mark, spared, until):
        pass


def _kill_marked_once(mark: bytes, spared: int, until: float) -> bool:
    """Returns whether there was such a process."""
    found = False
    for name in os.listdir("/proc"):  # noqa: PTH208  # a list, because processes end during the search
        if name.isdigit() and int(name) != spared and time.monotonic() < until:
            with contextlib.suppress(OSError):  # the process has ended, or belongs to another user
                found = _kill_if_marked(int(name), mark) or found
    return found


def _kill_if_marked(pid: int, mark: bytes) -> bool:
    environment = Path(f"/proc/{pid}/environ")
    if mark not in environment.read_bytes():
        return False
    handle = os.pidfd_open(pid)
    try:
        if mark in environment.read_bytes():  # the id has not been reused
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    return True
