"""Starts, watches and ends worker processes on Windows.

Each worker is in a job object, so that it ends together with its descendants and at the latest with the host.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from backworks.isolation.process.exits import Exit
from backworks.isolation.process.pipes import Pipes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Pipes", "Process", "start"]

#: The exit codes of processes that a processor exception has ended.
_EXCEPTIONS = {
    0x80000003: "breakpoint",
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC0000094: "integer division by zero",
    0xC00000FD: "stack overflow",
    0xC0000374: "heap corruption",
    0xC0000409: "stack buffer overrun or abort",
}


class Process:
    """A worker process from its start until it is reaped. Thread-safe.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        from backworks.isolation.process.jobobject import (
            Job,  # imported here because it needs ctypes, which is slow to import
        )

        self.pid = process.pid
        self._process = process
        try:
            # The worker runs no foreign code before START, so it cannot have started a process outside the job.
            self._job = Job(int(process._handle))  # type: ignore[attr-defined]  # noqa: SLF001  # subprocess has no other name for it
        except OSError:
            process.kill()
            process.wait()
            raise

    def fileno(self) -> int:
        """Returns -1, because there is no descriptor to wait for."""
        return -1

    def watch(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        """Makes an event loop call a function when the process has ended."""

        def wait() -> None:
            self._process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended)

        threading.Thread(target=wait, name="backworks-exit", daemon=True).start()

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Does nothing, because the process has ended."""

    def kill(self) -> None:
        """Ends the process and all its descendants."""
        self._job.end()

    def reap(self) -> Exit:
        """Ends the remaining descendants of the ended process, and returns how it ended."""
        self.kill()
        code = self._process.wait() & 0xFFFFFFFF
        return Exit(_EXCEPTIONS.get(code, f"exception {code:#x}"), None) if code >> 30 in (2, 3) else Exit(None, code)

    def finish(self, loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
        """Calls a function, because nothing is left: no process can leave the job."""
        done()

    def close(self) -> None:
        """Closes the job."""
        self._job.close()

    def forget(self) -> None:
        """Does nothing, because Windows has no fork."""


if sys.platform == "win32":
    import _winapi
    import msvcrt

    #: The size of a pipe's buffer, as on Linux. With the 4096 bytes of os.pipe, large frames take many small steps.
    _ROOM = 1 << 16

    def _pipe() -> tuple[int, int]:
        """Creates a pipe like :func:`os.pipe`, with a larger buffer."""
        reading, writing = _winapi.CreatePipe(None, _ROOM)  # not inheritable
        return msvcrt.open_osfhandle(reading, os.O_RDONLY), msvcrt.open_osfhandle(writing, os.O_WRONLY)

    def start(
        program: Path, options: Sequence[str], descriptors: Sequence[int], environment: Mapping[str, str]
    ) -> tuple[Process, Pipes]:
        """Starts the worker program.

        Args:
            program: The program.
            options: Its options, except those for its pipes.
            descriptors: The handles that it inherits in addition to its pipes; none, because there is no mailbox here.
            environment: Its complete environment.

        Raises:
            OSError: The program cannot be started.
        """
        mine: list[int] = []
        theirs: list[int] = []
        try:
            for host_writes in (True, False, False, False):
                reading, writing = _pipe()
                mine.append(writing if host_writes else reading)
                theirs.append(reading if host_writes else writing)
            requests, replies, stderr, log = theirs
            handle = msvcrt.get_osfhandle(log)
            os.set_handle_inheritable(handle, True)
            process = Process(
                subprocess.Popen(  # noqa: S603  # it is our own program
                    [str(program), "--log", str(handle), *options],
                    stdin=requests,
                    stdout=replies,
                    stderr=stderr,
                    env=dict(environment),
                    startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle, *descriptors]}),
                    creationflags=subprocess.CREATE_NO_WINDOW,
                )
            )
        except BaseException:
            for descriptor in mine:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return process, Pipes(*mine)
