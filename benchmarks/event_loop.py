"""The cost of a call that is awaited in an event loop: ``python -m benchmarks.event_loop``."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.command import command
from benchmarks.contenders import by_ctypes, ours
from benchmarks.harness import Contender, Figure, interleave, per_call

DATA = b"x" * 64
#: The number of calls in flight.
CASES = {"one call at a time": 1, "32 calls at a time": 32}

Call = Callable[[], Awaitable[object]]


async def ready() -> bytes:
    """The minimum that can be awaited: a coroutine that returns at once."""
    return DATA


def _in_executor(call: Callable[[bytes], bytes]) -> Awaitable[bytes]:
    # Like to_thread, but without copying the context.
    return asyncio.get_running_loop().run_in_executor(None, call, DATA)


async def _sequence(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        await call()
    return time.perf_counter() - start


async def _batches(call: Call, count: int, width: int) -> float:
    start = time.perf_counter()
    for _ in range(0, count, width):
        await asyncio.gather(*(call() for _ in range(width)))
    return (time.perf_counter() - start) * count / (-(-count // width) * width)


def _seconds(runner: asyncio.Runner, call: Call, width: int, count: int) -> float:
    return runner.run(_sequence(call, count) if width == 1 else _batches(call, count, width))


#: Seconds between two calls of the third case, long enough that spinning threads have gone to sleep.
PAUSE = 0.002


async def _paused(call: Call, count: int) -> float:
    taken = 0.0
    for _ in range(count):
        await asyncio.sleep(PAUSE)
        start = time.perf_counter()
        await call()
        taken += time.perf_counter() - start
    return taken / count * 1e9


def _after_a_pause(runner: asyncio.Runner, call: Call, count: int) -> float:
    return runner.run(_paused(call, count))


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    groups = {}
    with ExitStack() as stack:
        none = stack.enter_context(ours("echo"))
        thread = stack.enter_context(ours("echo", isolation="thread"))
        by_hand = by_ctypes("echo")[1]
        # One event loop, and so one default thread pool, for all, as in a real program.
        runner = stack.enter_context(asyncio.Runner())
        calls: dict[str, Call] = {
            "await of a ready coroutine": ready,
            "Backworks, none": partial(none.process_endpoint_data_async, "/echo", "POST", DATA, as_bytes=True),
            "Backworks, thread": partial(thread.process_endpoint_data_async, "/echo", "POST", DATA, as_bytes=True),
            "to_thread, ctypes by hand": partial(asyncio.to_thread, by_hand, DATA),
            "run_in_executor, ctypes by hand": partial(_in_executor, by_hand),
            "to_thread, Backworks, none": partial(
                asyncio.to_thread, none.process_endpoint_data, "/echo", "POST", DATA, as_bytes=True
            ),
        }
        for shown, width in CASES.items():
            contenders = []
            for name, call in calls.items():
                seconds_of = partial(_seconds, runner, call, width)
                contenders.append(Contender(name, per_call(seconds_of, 0.01 if quick else 0.1)))
            groups[shown] = interleave(contenders, 5 if quick else 21)
        contenders = [
            Contender(name, partial(_after_a_pause, runner, call, 20 if quick else 50)) for name, call in calls.items()
        ]
        groups["one call after a pause"] = interleave(contenders, 5 if quick else 21)
    return Figure(
        "event_loop",
        "Time of one awaited call with 64 B, lower is better",
        "ns",
        groups,
        ("to_thread, ctypes by hand", "await of a ready coroutine"),
        (
            "asyncio's own event loop. Of 32 gathered calls, the figure is the total time divided by 32.",
            f"After a pause of {PAUSE * 1e3:g} ms the cores, and all threads, are asleep.",
        ),
    )


if __name__ == "__main__":
    sys.exit(command(figure))
