"""Detects memory that grows with each repetition.

There are two measures, because neither covers everything. The bytes allocated by the C library's ``malloc`` are exact,
but only glibc reports them. The resident memory of the process includes other allocators, but in whole pages.

A cache, a pool or a heap before garbage collection also grows, but not forever. Growth therefore counts only if it
continues in every one of the last batches.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from backworks.authoring.conformance.results import Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Steps", "watch"]

_BATCHES = 5
#: How many of the last batches must all have grown.
_LAST = 3
#: Bytes by which the process must grow before this counts as a leak. A garbage collector runs when its heap reaches
#: some size, 4 MiB for Go; until then, garbage looks like a leak.
_HEAP = 16 << 20
#: How many more batches, each twice as large as the one before, may be tried to reach it.
_MORE = 12
#: The least growth per step in bytes. malloc allocates at least 24; growth outside the plugin is far smaller.
_LEAST = 8
#: The least growth of the process per batch, in bytes.
_PAGES = 256 << 10
_MOST_STEPS = 2000
#: Seconds per batch.
_SECONDS = 0.3


class Steps(NamedTuple):
    """The number of steps, and the bytes that each left allocated."""

    number: int
    bytes_each: float


def watch(
    step: Callable[[], object],
    what: str,
    accepted: str,
    effort: float = 1.0,
    *,
    most: int = _MOST_STEPS,
    seconds: float = _SECONDS,
) -> Steps:
    """Repeats a step, and fails if memory grows with each repetition.

    Args:
        step: The step to repeat.
        what: The name of a step, in the plural.
        accepted: What the contract requires of the plugin.
        effort: As in :class:`~backworks.authoring.conformance.subject.Subject`.
        most: The maximum number of steps per batch; there are five batches.
        seconds: The maximum duration of a batch; a slow step reduces the number of steps.

    Raises:
        Failed: Memory grows.
        Skipped: A step takes too long, or this system does not report memory use.
    """
    if sys.platform == "win32":
        raise Skipped("memory is measured on Linux and macOS only")
    count = _fitting(step, what, most, effort, seconds)
    measured = _Measured([0], [_given_out()], [_resident()])
    gc.collect()
    gc.disable()  # so that Python's own garbage does not distort the measurement
    try:
        for _ in range(_BATCHES):
            measured.add(_batch(step, count, seconds))
        if (each := measured.given_out()) is not None:
            raise Failed(f"{measured.number:,} {what}: each leaks {each:,.0f} bytes allocated by malloc", accepted)
        if measured.resident() is not None:
            for doubled in range(_MORE):
                measured.add(_batch(step, count << doubled, seconds))
                if measured.resident() is None or measured.grown() >= _HEAP:
                    break
            if (each := measured.resident()) is not None and measured.grown() >= _HEAP:
                raise Failed(f"{measured.number:,} {what}: the process grows by {each:,.0f} bytes with each", accepted)
    finally:
        gc.enable()
    return Steps(measured.number, (measured.given[-1] - measured.given[1]) / max(1, sum(measured.steps[2:])))


class _Measured(NamedTuple):
    """The steps of each batch and the measurements after it; the first entry is from before all batches."""

    steps: list[int]
    given: list[int]
    pages: list[int]

    def add(self, steps: int) -> None:
        """Measures after a batch."""
        self.steps.append(steps)
        self.given.append(_given_out())
        self.pages.append(_resident())

    @property
    def number(self) -> int:
        """The total number of steps."""
        return sum(self.steps)

    def given_out(self) -> float | None:
        """Returns the bytes of malloc that each step leaked, if every one of the last batches leaked."""
        return self._growth(self.given, [steps * _LEAST for steps in self.steps])

    def grown(self) -> int:
        """Returns the bytes by which the process has grown in all batches."""
        return self.pages[-1] - self.pages[0]

    def resident(self) -> float | None:
        """Returns the bytes by which each step grew the process, if it grew in every one of the last batches."""
        return self._growth(self.pages, [_PAGES] * len(self.steps))

    def _growth(self, values: list[int], least: list[int]) -> float | None:
        grown = [after - before for before, after in pairwise(values)][-_LAST:]
        if all(growth >= enough for growth, enough in zip(grown, least[-_LAST:], strict=True)):
            return sum(grown) / max(1, sum(self.steps[-_LAST:]))
        return None


def _batch(step: Callable[[], object], count: int, seconds: float) -> int:
    """Runs ``count`` steps, or fewer if they take too long; returns how many."""
    end = time.monotonic() + seconds
    for number in range(count):
        step()
        if number % 16 == 0 and time.monotonic() > end:
            return number + 1
    return count


def _fitting(step: Callable[[], object], what: str, most: int, effort: float, seconds: float) -> int:
    """Returns the number of steps per batch, measured by running a few."""
    step()
    began = time.perf_counter()
    for _ in range(3):
        step()
    each = max((time.perf_counter() - began) / 3, 1e-7)
    if each > seconds:
        raise Skipped(f"{what} take {each:.2g} s each, too long to repeat often enough to detect growth")
    return int(max(3, min(most * effort, seconds / each)))


class _MallInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _mallinfo() -> Any:
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _MallInfo
    return function


_function = _mallinfo()


def _given_out() -> int:
    """Returns the bytes that malloc has allocated and not freed, or 0 if it does not report them."""
    if _function is None:
        return 0
    info = _function()
    return int(info.uordblks + info.hblkhd)


if sys.platform == "linux":

    def _resident() -> int:
        """Returns the resident memory of this process in bytes."""
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * mmap.PAGESIZE

elif sys.platform == "win32":

    def _resident() -> int:
        """Returns 0; never called, because memory is not measured on Windows."""
        return 0

else:
    import resource

    def _resident() -> int:
        """Returns the peak memory of this process, which a leak also keeps raising."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
