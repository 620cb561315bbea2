"""The measuring itself, in a process of its own; see :mod:`backworks.authoring.bench.runs`.

A user's program calls ``process_endpoint_data`` and nothing else, and so does this one. What surrounds the call is kept
small and told: the clock is read before and after each call, and its own time is taken off.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING

from backworks.authoring.bench.figures import Latency, Measured, Memory, Throughput
from backworks.errors import Code, PluginError
from backworks.loading.loader import load
from backworks.observing.memory import memory_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from backworks.authoring.bench.figures import Request
    from backworks.plugin import Plugin

__all__ = ["measure"]

#: Nanoseconds between two looks at the clock while throughput is measured: so much that the look costs nothing.
_BETWEEN_LOOKS = 1_000_000


def measure(
    path: Path, request: Request, isolation: str, threads: Sequence[int], seconds: float, step: Callable[[str], object]
) -> Measured:
    """Measures one isolation.

    Args:
        path: The library.
        request: What to call it with.
        isolation: Where it runs.
        threads: The numbers of threads to measure throughput with.
        seconds: How long to measure each figure.
        step: Is called with what comes next.

    Raises:
        BackworksError: As :func:`backworks.load` and the calls raise it; ``PluginError`` also where there is no answer.
    """
    step("one call at a time")
    before, _ = memory_of(os.getpid())
    with load(path, request.config, isolation=isolation, workers=1) as plugin:
        answered = _try(plugin, request)
        latency = _latency(plugin, request, seconds)
        memory = _memory(plugin, before)
    throughput = []
    for number in threads:
        step(f"{number} thread{'' if number == 1 else 's'}")
        with load(path, request.config, isolation=isolation, workers=number) as plugin:
            throughput.append(_throughput(plugin, request, number, seconds, latency.median_ns))
    return Measured(isolation, answered, latency, tuple(throughput), memory)


def _try(plugin: Plugin, request: Request) -> int:
    """Calls it once, so that nothing is measured that does not answer; returns the answer's size."""
    answer = plugin.process_endpoint_data(request.endpoint, request.method, request.data, as_bytes=True)
    if answer is None:
        raise PluginError(
            f"{request.method} {request.endpoint} is not its own: name an endpoint that it answers",
            code=Code.NOT_FOUND,
            plugin=plugin.name,
        )
    return len(answer)


def _latency(plugin: Plugin, request: Request, seconds: float) -> Latency:
    clock = time.perf_counter_ns
    call, endpoint, method, data = plugin.process_endpoint_data, request.endpoint, request.method, request.data
    # Times are counted, not listed: there are millions of calls, but few different times.
    counts: dict[int, int] = {}
    end = clock() + int(seconds * 1e9)
    stop = 0
    while stop < end:
        start = clock()
        call(endpoint, method, data, as_bytes=True)
        stop = clock()
        took = stop - start
        counts[took] = counts.get(took, 0) + 1
    return Latency.of(counts, _clock_ns())


def _clock_ns() -> int:
    """What two looks at the clock take with nothing in between: the least of many, since a disturbance only adds."""
    clock = time.perf_counter_ns
    least = 1_000_000
    for _ in range(10_000):
        start = clock()
        stop = clock()
        least = min(least, stop - start)
    return least


def _memory(plugin: Plugin, before: int | None) -> Memory:
    if plugin.isolation == "process":
        runner = plugin.runner
        (pid,) = getattr(getattr(runner, "inner", runner), "pids")  # noqa: B009  # runners of other isolations have none
        return Memory("worker", *memory_of(pid))
    now, _ = memory_of(os.getpid())
    return Memory("host", None if now is None or before is None else now - before)


def _throughput(plugin: Plugin, request: Request, threads: int, seconds: float, call_ns: int) -> Throughput:
    """Has threads call for a while, all from one moment on."""
    times = max(1, _BETWEEN_LOOKS // max(call_ns, 1))
    began = threading.Barrier(threads)
    clock = time.perf_counter

    def work() -> tuple[int, float, float]:
        call, endpoint, method, data = plugin.process_endpoint_data, request.endpoint, request.method, request.data
        calls = 0
        began.wait()
        start = stop = clock()
        end = start + seconds
        while stop < end:
            for _ in repeat(None, times):
                call(endpoint, method, data, as_bytes=True)
            calls += times
            stop = clock()
        return calls, start, stop

    with ThreadPoolExecutor(threads) as pool:
        done = [future.result() for future in [pool.submit(work) for _ in range(threads)]]
    return Throughput(
        threads, sum(calls for calls, _, _ in done), max(stop for *_, stop in done) - min(start for _, start, _ in done)
    )
