"""Finds leaked processes, descriptors, threads and files. Linux only: it reads /proc."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from conftest import PATIENCE

__all__ = ["Traces", "children", "descendants", "descriptors", "has_mapped", "memory", "wait_for_end", "workers"]

PROC = Path("/proc")


def children(process: int) -> set[int]:
    """Returns the processes that a process started and has not reaped."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in (PROC / str(process) / "task").iterdir():
            with contextlib.suppress(OSError):
                found.update(map(int, (task / "children").read_text().split()))
    return found


def descendants(process: int) -> set[int]:
    """Returns the children of a process, and all their descendants."""
    found: set[int] = set()
    new = children(process)
    while new:
        found |= new
        new = set().union(*map(children, new)) - found
    return found


def workers(process: int) -> set[int]:
    """The workers of a process that are alive, without their guardians."""
    found = set()
    below = children(process)
    for child in below.union(*map(children, below)):
        with contextlib.suppress(OSError):
            if (PROC / str(child) / "comm").read_text() == "backworks-guard\n":
                continue
            # Not the link to the program: in front of an emulated one is the emulator.
            words = (PROC / str(child) / "cmdline").read_bytes().split(b"\0")
            if any(os.path.basename(word).startswith(b"backworks-worker") for word in words):  # noqa: PTH119  # bytes
                found.add(child)
    return found


def has_mapped(directory: Path) -> set[int]:
    """Returns all other processes that map a file below a directory.

    A forked child keeps its parent's mappings even in another session, so this also finds daemons.
    """
    wanted = str(directory) + "/"
    found = set()
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "maps").read_text(errors="replace"):
                    found.add(int(entry.name))
    return found


def descriptors(process: int | str = "self") -> int:
    """Returns the number of a process's open descriptors."""
    return len(os.listdir(PROC / str(process) / "fd"))  # noqa: PTH208  # Path.iterdir would open another one


def memory(process: int | str = "self") -> int:
    """Returns the private resident memory of a process, in bytes."""
    resident, shared = (PROC / str(process) / "statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def wait_for_end(processes: Iterable[int], patience: float = PATIENCE) -> set[int]:
    """Waits until processes have ended, children or not; kills and returns those that have not."""
    deadline = time.monotonic() + patience
    left = set()
    for process in processes:
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                left.add(process)
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
    return left


@dataclass(frozen=True)
class Traces:
    """What this process holds at one moment; made by :meth:`now`.

    Attributes:
        children: Its children, including zombies.
        descriptors: What each of its open descriptors refers to.
        threads: Its threads.
        files: The files below a directory.
    """

    children: frozenset[int]
    descriptors: tuple[str, ...]
    threads: frozenset[threading.Thread]
    files: frozenset[Path]

    @classmethod
    def now(cls, directory: Path) -> Traces:
        """Inspects this process and the content of a directory."""
        gc.collect()
        opened = []
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # Path.iterdir would open another one
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                target = str(Path("/proc/self/fd", name).readlink())
                opened.append(target.partition(":[")[0])  # without the meaningless numbers of pipes
        return cls(
            frozenset(children(os.getpid())),
            tuple(sorted(opened)),
            # Python keeps an object for a C thread until another thread reuses its id, which may be much later.
            frozenset(each for each in threading.enumerate() if not isinstance(each, threading._DummyThread)),
            frozenset(directory.rglob("*")),
        )
