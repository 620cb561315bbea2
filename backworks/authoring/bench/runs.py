"""Runs the measurement of each isolation in a separate Python process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING

from backworks.authoring.bench.figures import LeftOut, Measured
from backworks.authoring.bench.work import measure
from backworks.errors import BackworksError, PluginCrashed
from backworks.isolation.process.exits import Exit
from backworks.loading.prepared import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path
    from typing import Any

    from backworks.authoring.bench.figures import Request
    from backworks.settings import Isolation

__all__ = ["ISOLATIONS", "bench", "cores", "left_out", "thread_counts"]

#: The most isolated first: a fault of the plugin then shows up where it does no harm.
ISOLATIONS: tuple[Isolation, ...] = ("process", "thread", "none")


def cores() -> int:
    """Returns how many processor cores this process may use."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return len(os.sched_getaffinity(0))


def thread_counts(number: int) -> list[int]:
    """Returns the powers of two below a number, and the number itself."""
    counts = [1]
    while counts[-1] * 2 < number:
        counts.append(counts[-1] * 2)
    return counts if number == 1 else [*counts, number]


def left_out(manifest: Mapping[str, Any] | None, isolations: Sequence[str] = ISOLATIONS) -> list[LeftOut]:
    """Returns the isolations that a manifest does not allow.

    Args:
        manifest: The manifest, or ``None``.
        isolations: The isolations to check.
    """
    allowed = (manifest or {}).get("isolation")
    if not isinstance(allowed, list):
        return []
    reason = f"the manifest allows only {' and '.join(map(str, allowed))}"
    return [LeftOut(isolation, reason) for isolation in isolations if isolation not in allowed]


def bench(
    path: str | Path,
    request: Request,
    *,
    isolations: Sequence[Isolation] = ISOLATIONS,
    seconds: float = 1.0,
    step: Callable[[str], object] = lambda _: None,
) -> Iterator[Measured]:
    """Measures a plugin with each isolation that its manifest allows.

    Args:
        path: The library, or its stem.
        request: The request to repeat.
        isolations: A subset of :data:`ISOLATIONS`.
        seconds: Duration of each measurement: one for latency, one for each number of threads.
        step: Called with the name of each step, ``1 + len(thread_counts(cores()))`` times for each isolation.

    Raises:
        PluginLoadError: The file cannot be loaded.
        ConfigError: The plugin's schema rejects the configuration.
        PluginError: The plugin did not start, returned an error or no answer, or crashed.
    """
    prepared = prepare(path)
    refused = {each.isolation for each in left_out(prepared.manifest)}
    name = prepared.name or prepared.path.name
    for isolation in isolations:
        if isolation not in refused:
            yield _run(prepared.path, request, isolation, seconds, step, name)


def _run(
    path: Path, request: Request, isolation: Isolation, seconds: float, step: Callable[[str], object], name: str
) -> Measured:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, path, request, isolation, seconds), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            message = ours.recv()
            if not isinstance(message, str):
                break
            step(f"{isolation}: {message}")
    except EOFError:
        process.join()
        raise _crashed(process.exitcode, isolation, name) from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if isinstance(message, BackworksError):
        raise message
    assert isinstance(message, Measured)  # noqa: S101  # for the type checker
    return message


def _crashed(exit_code: int | None, isolation: str, name: str) -> PluginCrashed:
    number = -(exit_code or 0)
    found = Exit(signal.Signals(number).name, None) if number > 0 else Exit(None, exit_code)
    return PluginCrashed(
        f"it crashed the host process, as a plugin can with isolation {isolation}: it {found}",
        plugin=name,
        signal=found.signal,
        exit_code=found.code,
    )


def _work(pipe: Connection, path: Path, request: Request, isolation: Isolation, seconds: float) -> None:
    """Runs in the process of an isolation: sends the name of each step, then the figures or an error."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process; only the parent reports it
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # keeps the plugin's output out of the result
    answer: Measured | BackworksError
    try:
        answer = measure(path, request, isolation, thread_counts(cores()), seconds, pipe.send)
    except BackworksError as error:
        answer = error
    pipe.send(answer)
    pipe.close()
