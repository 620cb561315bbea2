"""Worker processes on Windows: how one is started, watched and ended.

Each is in a job object that ends, with all that the worker has started, when the host does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from backworks.isolation.process.exits import Exit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Pipes", "Process", "start"]

#: What a process ends with that an exception of the processor has ended.
_EXCEPTIONS = {
    0x80000003: "breakpoint",
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC0000094: "integer division by zero",
    0xC00000FD: "stack overflow",
    0xC0000374: "heap corruption",
    0xC0000409: "stack buffer overrun or abort",
}


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
    """A worker process from its start until it was reaped. Thread-safe.

    Attributes:
        pid: Its number.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        from backworks.isolation.process.jobobject import (
            Job,  # ctypes, which takes a while, is for those who start workers
        )

        self.pid = process.pid
        self._process = process
        try:
            # The worker is our own program until it is told what to load: nothing was started outside of the job.
            self._job = Job(int(process._handle))  # type: ignore[attr-defined]  # noqa: SLF001  # subprocess has no other name for it
        except OSError:
            process.kill()
            process.wait()
            raise

    def fileno(self) -> int:
        """Returns -1: there is no descriptor to wait for."""
        return -1

    def watch(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        """Has a loop call a function when the process has ended."""

        def wait() -> None:
            self._process.wait()
            with contextlib.suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(ended)

        threading.Thread(target=wait, name="backworks-exit", daemon=True).start()

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing: it has ended."""

    def kill(self) -> None:
        """Ends the process and all that it has started."""
        self._job.end()

    def reap(self) -> Exit:
        """Ends what the process has left behind, and tells how it ended."""
        self.kill()
        code = self._process.wait() & 0xFFFFFFFF
        return Exit(_EXCEPTIONS.get(code, f"exception {code:#x}"), None) if code >> 30 in (2, 3) else Exit(None, code)

    def sweep(self) -> None:
        """Nothing: no process leaves a job."""

    def close(self) -> None:
        """Closes what belongs to it."""
        self._job.close()

    def forget(self) -> None:
        """Nothing: no process is forked off here."""


if sys.platform == "win32":
    import _winapi
    import msvcrt

    #: Bytes that a pipe holds, as on Linux. With the 4096 of os.pipe a large frame is handed over in many small pieces.
    _ROOM = 1 << 16

    def _pipe() -> tuple[int, int]:
        """Makes a pipe as :func:`os.pipe` does."""
        reading, writing = _winapi.CreatePipe(None, _ROOM)  # no child inherits it
        return msvcrt.open_osfhandle(reading, os.O_RDONLY), msvcrt.open_osfhandle(writing, os.O_WRONLY)

    def start(
        program: Path, options: Sequence[str], descriptors: Sequence[int], environment: Mapping[str, str]
    ) -> tuple[Process, Pipes]:
        """Starts the worker program.

        Args:
            program: The program.
            options: Its options, but for those that name its pipes.
            descriptors: What it inherits beside its pipes: nothing here, where there is no mailbox.
            environment: Its whole environment.

        Raises:
            OSError: It cannot be started.
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
