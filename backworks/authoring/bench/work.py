"""The measurement itself, which runs in a separate process; see :mod:`backworks.authoring.bench.runs`.

Like a user's program, this one only calls ``process_endpoint_data``. Reading the clock before and after each call is
the only overhead, and is subtracted.
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
from backworks.observing.memory import memory_of
from backworks.starting import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from backworks.authoring.bench.figures import Request
    from backworks.plugin import Plugin
    from backworks.settings import Isolation

__all__ = ["measure"]

#: Nanoseconds between two readings of the clock during a throughput measurement, so that reading it costs nothing.
_CLOCK_INTERVAL = 1_000_000


def measure(
    path: Path,
    request: Request,
    isolation: Isolation,
    threads: Sequence[int],
    seconds: float,
    step: Callable[[str], object],
) -> Measured:
    """Measures one isolation.

    Args:
        path: The library.
        request: The request to repeat.
        isolation: The isolation.
        threads: The numbers of threads to measure throughput with.
        seconds: Duration of each measurement.
        step: Called with the name of each step.

    Raises:
        BackworksError: From :func:`backworks.load` and the calls; ``PluginError`` also if there is no answer.
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
    """Calls the plugin once to make sure that it answers; returns the size of the answer."""
    answer = plugin.process_endpoint_data(request.endpoint, request.method, request.data, as_bytes=True)
    if answer is None:
        raise PluginError(
            f"no answer for {request.method} {request.endpoint}: choose an endpoint that the plugin answers",
            code=Code.NOT_FOUND,
            plugin=plugin.name,
        )
    return len(answer)


def _latency(plugin: Plugin, request: Request, seconds: float) -> Latency:
    clock = time.perf_counter_ns
    call, endpoint, method, data = plugin.process_endpoint_data, request.endpoint, request.method, request.data
    # A histogram instead of a list: there are millions of calls, but few distinct durations.
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
    """Returns the minimum time between two successive readings of the clock; disturbances only add to it."""
    clock = time.perf_counter_ns
    least = 1_000_000
    for _ in range(10_000):
        start = clock()
        stop = clock()
        least = min(least, stop - start)
    return least


def _memory(plugin: Plugin, before: int | None) -> Memory:
    if plugin.isolation == "process":
        (pid,) = getattr(plugin.runner, "pids")  # noqa: B009  # runners of other isolations have none
        return Memory("worker", *memory_of(pid))
    now, _ = memory_of(os.getpid())
    return Memory("host", None if now is None or before is None else now - before)


def _throughput(plugin: Plugin, request: Request, threads: int, seconds: float, call_ns: int) -> Throughput:
    """Starts threads together, which then call the plugin for a while."""
    times = max(1, _CLOCK_INTERVAL // max(call_ns, 1))
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
