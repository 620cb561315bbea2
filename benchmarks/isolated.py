"""The cost of a call to a plugin in a worker process: ``python -m benchmarks.isolated``. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from unittest.mock import patch

from backworks.isolation.channels import mailbox
from backworks.plugin import Plugin
from benchmarks.command import command
from benchmarks.contenders import Floor, by_ctypes, extism_peer, library, optional, ours
from benchmarks.harness import Contender, Figure, Sample, interleave, per_call, statement
from benchmarks.other_processes import by_grpc, by_multiprocessing

SIZES = {"64 B": 64, "1 KiB": 1 << 10, "16 MiB": 1 << 24}

_OURS = 'call("/echo", "POST", data, as_bytes=True)'


@contextlib.contextmanager
def one_processor() -> Iterator[None]:
    """Confines everything that starts in the block to one processor."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextlib.contextmanager
def overload() -> Iterator[None]:
    """Runs twice as many busy processes as there are processors."""
    program = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(program) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


CONDITIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "a processor each": contextlib.nullcontext,
    "one processor": one_processor,
    "overloaded": overload,
}


def isolated(stack: ExitStack, *, with_mailbox: bool = True) -> Plugin:
    """Loads the echo plugin into a worker process; the stack closes it."""
    without = contextlib.nullcontext() if with_mailbox else patch.object(mailbox, "create", return_value=None)
    with without:  # as on systems that have no mailbox
        return stack.enter_context(ours("echo", isolation="process", workers=1))


def contenders(size: int, budget: float, stack: ExitStack) -> Iterator[Contender]:
    """Yields the contenders that send and receive data of a size."""
    data = b"x" * size
    loops = ctypes.CDLL(str(library("pingpong")))
    for name, shown in (("pingpong_futex", "futex, in C"), ("pingpong_pipe", "pipe, in C")):
        loop = getattr(loops, name)
        loop.restype = ctypes.c_uint64
        loop.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64)
        yield Contender(shown, per_call(partial(_seconds, loop, data), budget))
    for shown, with_mailbox in (("Backworks, process", True), ("Backworks, process, pipes", False)):
        call = isolated(stack, with_mailbox=with_mailbox).process_endpoint_data
        yield Contender(shown, per_call(statement(_OURS, call=call, data=data), budget))
    peers: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
        "multiprocessing.Pipe": partial(by_multiprocessing, stack),
        "gRPC, unix socket": partial(by_grpc, stack),
        "Extism": extism_peer,
        "ctypes by hand": lambda: by_ctypes("echo")[1],
    }
    for shown, peer in peers.items():
        with optional(shown):
            yield Contender(shown, per_call(statement("call(data)", call=peer(), data=data), budget))
    yield Contender("memcpy each way", per_call(Floor().copy(data, fresh=False), budget))


def _seconds(loop: ctypes._NamedFuncPointer, data: bytes, count: int) -> float:
    taken: int = loop(data, len(data), count)
    return taken / 1e9


async def _by_event(there: int, back: int, count: int) -> float:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        os.eventfd_read(back)
        waiting.set_result(None)

    loop.add_reader(back, readable)
    start = time.perf_counter()
    for _ in range(count):
        waiting = loop.create_future()
        os.eventfd_write(there, 1)
        await waiting
    taken = time.perf_counter() - start
    loop.remove_reader(back)
    return taken


def _events(runner: asyncio.Runner, there: int, back: int, count: int) -> float:
    return runner.run(_by_event(there, back, count))


def _calls(runner: asyncio.Runner, plugin: Plugin, count: int) -> float:
    return runner.run(_by_plugin(plugin, count))


async def _by_plugin(plugin: Plugin, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        await plugin.process_endpoint_data_async("/echo", "POST", b"x" * 64, as_bytes=True)
    return time.perf_counter() - start


def awaited(budget: float, stack: ExitStack) -> Iterator[Contender]:
    """Yields the contenders that an event loop awaits."""
    runner = stack.enter_context(asyncio.Runner())
    loops = ctypes.CDLL(str(library("pingpong")))
    there, back = os.eventfd(0, os.EFD_CLOEXEC), os.eventfd(0, os.EFD_CLOEXEC)
    stack.callback(os.close, there)
    stack.callback(os.close, back)
    other = loops.pingpong_event(there, back, ctypes.c_uint64(0))
    stack.callback(os.waitpid, other, 0)
    stack.callback(os.kill, other, signal.SIGKILL)
    yield Contender("eventfd", per_call(partial(_events, runner, there, back), budget))
    for shown, with_mailbox in (("Backworks, process", True), ("Backworks, process, pipes", False)):
        plugin = isolated(stack, with_mailbox=with_mailbox)
        yield Contender(shown, per_call(partial(_calls, runner, plugin), budget))


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    groups: dict[str, dict[str, Sample]] = {}
    budget, rounds = (0.01, 5) if quick else (0.05, 21)
    for condition, context in CONDITIONS.items():
        if condition == "overloaded":
            budget *= 5  # the time slice of another process is 3 ms, so measure for much longer
        for shown, size in SIZES.items():
            if size < 1 << 20 or condition == "a processor each":
                with context(), ExitStack() as stack:
                    groups[f"{shown}, {condition}"] = interleave(list(contenders(size, budget, stack)), rounds)
        with context(), ExitStack() as stack:
            groups[f"64 B, awaited, {condition}"] = interleave(list(awaited(budget, stack)), rounds)
    return Figure(
        "isolated",
        "Time of one call to a plugin in a worker process, lower is better",
        "ns",
        groups,
        ("ctypes by hand", "futex, in C", "Backworks, process, pipes", "memcpy each way", "eventfd"),
        (
            "`futex, in C` and `pipe, in C` are pairs of processes that only wake each other.",
            (
                "`multiprocessing.Pipe` and gRPC have a Python process at the other end. Extism, `ctypes by hand` and "
                "`memcpy each way` stay in this process."
            ),
            "`overloaded`: there are twice as many other busy processes as processors.",
        ),
    )


if __name__ == "__main__":
    sys.exit(command(figure))
