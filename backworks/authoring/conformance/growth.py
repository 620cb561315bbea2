"""Does memory grow with each repetition?

Two measures, since neither sees all: the bytes that the C library's ``malloc`` has given out, which are exact where
glibc tells them, and the memory of the process, which other allocators take from as well, in whole pages.

A cache that fills, a pool that warms up and a garbage collector that has not run yet grow too, but not for ever: growth
counts only if it goes on through every one of the last batches.
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
#: The batches at the end that must all have grown.
_LAST = 3
#: By how many bytes the process must have grown before that is held against a plugin: a garbage collector runs when its
#: heap has reached a size, which for Go is 4 MiB, and until then garbage looks as a leak does.
_HEAP = 16 << 20
#: How many batches, each twice as large as the one before, are tried until then.
_MORE = 12
#: Bytes for each step. malloc gives out 24 at least; all else in the process that is not the plugin's is far below.
_LEAST = 8
#: Bytes of one batch by which the process grows, below which nothing is said.
_PAGES = 256 << 10
_MOST_STEPS = 2000
#: Seconds of a batch.
_SECONDS = 0.3


class Steps(NamedTuple):
    """What was done: how many steps, and how many bytes each has left behind."""

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
    """Repeats something, and fails if memory grows with it.

    Args:
        step: What to repeat.
        what: What a step is called, in the plural.
        accepted: What is asked of the plugin.
        effort: As in :class:`~backworks.authoring.conformance.subject.Subject`.
        most: Steps of a batch; there are five.
        seconds: How long a batch may take, before it has fewer steps.

    Raises:
        Failed: It grows.
        Skipped: A step takes too long, or this system does not tell how much memory a process has.
    """
    if sys.platform == "win32":
        raise Skipped("memory is measured on Linux and macOS only")
    count = _fitting(step, what, most, effort, seconds)
    measured = _Measured([0], [_given_out()], [_resident()])
    gc.collect()
    gc.disable()  # what Python frees at a time of its own choosing is not the plugin's
    try:
        for _ in range(_BATCHES):
            measured.add(_batch(step, count, seconds))
        if (each := measured.given_out()) is not None:
            raise Failed(
                f"{measured.number:,} {what}: each leaves {each:,.0f} bytes behind that malloc gave out", accepted
            )
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
    """The steps of each batch, and what was measured after it; first before all of them."""

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
        """All steps."""
        return sum(self.steps)

    def given_out(self) -> float | None:
        """Returns the bytes of malloc that each step has left behind, if each of the last batches has."""
        return self._growth(self.given, [steps * _LEAST for steps in self.steps])

    def grown(self) -> int:
        """Bytes by which the process has grown since the first batch."""
        return self.pages[-1] - self.pages[0]

    def resident(self) -> float | None:
        """Returns the bytes by which each step has made the process larger, if each of the last batches has."""
        return self._growth(self.pages, [_PAGES] * len(self.steps))

    def _growth(self, values: list[int], least: list[int]) -> float | None:
        grown = [after - before for before, after in pairwise(values)][-_LAST:]
        if all(growth >= enough for growth, enough in zip(grown, least[-_LAST:], strict=True)):
            return sum(grown) / max(1, sum(self.steps[-_LAST:]))
        return None


def _batch(step: Callable[[], object], count: int, seconds: float) -> int:
    """Does as many steps, or fewer if they take too long after all; returns how many."""
    end = time.monotonic() + seconds
    for number in range(count):
        step()
        if number % 16 == 0 and time.monotonic() > end:
            return number + 1
    return count


def _fitting(step: Callable[[], object], what: str, most: int, effort: float, seconds: float) -> int:
    """Returns how many steps make a batch, and does a few."""
    step()
    began = time.perf_counter()
    for _ in range(3):
        step()
    each = max((time.perf_counter() - began) / 3, 1e-7)
    if each > seconds:
        raise Skipped(f"{each:.2g} s for each of the {what} is too much for so many that growth would show")
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
    """Returns the bytes that malloc has given out and not got back, or 0 where it does not tell."""
    if _function is None:
        return 0
    info = _function()
    return int(info.uordblks + info.hblkhd)


if sys.platform == "linux":

    def _resident() -> int:
        """Returns the bytes of this process that are in memory."""
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * mmap.PAGESIZE

elif sys.platform == "win32":

    def _resident() -> int:
        """Returns 0: nobody asks there."""
        return 0

else:
    import resource

    def _resident() -> int:
        """Returns the most memory that this process ever had, which also grows for as long as a leak does."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
