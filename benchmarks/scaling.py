"""Two threads that call a CPU-bound plugin, compared with one: ``python -m benchmarks.scaling``."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.command import command
from benchmarks.contenders import by_ctypes, cffi_peer, optional, ours, peer
from benchmarks.harness import Contender, Figure, interleave

THREADS = 2
SIZES = {"1 KiB": 1 << 10, "64 KiB": 1 << 16, "1 MiB": 1 << 20}


def speed_up(call: Callable[[], object], count: int) -> float:
    """Returns the throughput of two threads relative to that of one."""
    return THREADS * _seconds(call, count, 1) / _seconds(call, count, THREADS)


def _seconds(call: Callable[[], object], count: int, threads: int) -> float:
    # All start together, and the clock stops when the last one is done.
    ready = threading.Barrier(threads + 1)

    def work() -> None:
        ready.wait()
        for _ in range(count):
            call()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    groups = {}
    with ExitStack() as stack:
        none = stack.enter_context(ours("hash"))
        thread = stack.enter_context(ours("hash", isolation="thread", workers=THREADS))
        hashes: dict[str, Callable[[bytes], object]] = {
            "Backworks, none": lambda data: none.process_endpoint_data("/", "POST", data, as_bytes=True),
            "Backworks, thread": lambda data: thread.process_endpoint_data("/", "POST", data, as_bytes=True),
            "ctypes by hand": by_ctypes("hash")[1],
            "cffi API": cffi_peer("plain_hash")[1],
        }
        with optional("nanobind"):
            hashes["nanobind"] = peer("nanobind_peer").hash
        for shown, size in SIZES.items():
            calls = {name: partial(call, b"x" * size) for name, call in hashes.items()}
            start = time.perf_counter()
            calls["Backworks, none"]()
            count = max(1, int((0.02 if quick else 0.2) / (time.perf_counter() - start)))
            contenders = [Contender(name, partial(speed_up, call, count)) for name, call in calls.items()]
            groups[f"{shown} hashed in each call"] = interleave(contenders, 3 if quick else 15)
    return Figure(
        "scaling",
        "Calls per second of two threads to a CPU-bound plugin, relative to one thread, higher is better",
        "times one thread",
        groups,
        ("nanobind",),
        (f"On {os.cpu_count()} cores. The data is bytes; all contenders release the interpreter lock.",),
        more_is_better=True,
        logarithmic=False,
    )


if __name__ == "__main__":
    sys.exit(command(figure))
