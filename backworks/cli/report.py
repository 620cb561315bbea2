"""The figures of ``plugin bench``: as JSON, or as tables, with bars on a terminal."""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from backworks.cli.output import bytes_text, print_table, time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backworks.authoring.bench import LeftOut, Measured, Memory, Request

__all__ = ["data", "print_figures"]

#: Maximum width of a bar, in columns.
_WIDTH = 32


def data(request: Request, seconds: float, results: Sequence[Measured], refused: Sequence[LeftOut]) -> dict[str, Any]:
    """Returns the output of ``plugin bench --json``."""
    return {
        "endpoint": request.endpoint,
        "method": request.method,
        "data_size": len(request.data),
        "seconds": seconds,
        "machine": _machine(),
        "results": [
            asdict(found)
            | {"throughput": [asdict(each) | {"calls_per_second": each.per_second} for each in found.throughput]}
            for found in results
        ],
        "left_out": [asdict(each) for each in refused],
    }


def print_figures(request: Request, seconds: float, results: Sequence[Measured]) -> None:
    """Prints the figures, and how they were measured."""
    what = f"{request.method} {request.endpoint}, {bytes_text(len(request.data))} sent"
    machine = _machine()
    cores = f"{machine['cores']} core{'' if machine['cores'] == 1 else 's'}"
    host = f"{machine['system']}, {cores}, {machine['python']}, binding {machine['binding']}"
    click.echo(f"{what}, {bytes_text(results[0].answered)} received; {host}")
    click.echo(
        f"One call at a time, from Python and back, each timed separately "
        f"(minus {time_text(results[0].latency.clock_ns)} to read the clock); {seconds:g} s per measurement"
    )
    click.echo()
    _print_latency(results)
    click.echo()
    _print_throughput(results)
    click.echo()
    print_table(("ISOLATION", "MEMORY"), [[found.isolation, _memory(found.memory)] for found in results])


def _machine() -> dict[str, Any]:
    from backworks.authoring.bench.runs import cores
    from backworks.ffi import binding

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "binding": binding().name,
    }


def _print_latency(results: Sequence[Measured]) -> None:
    """Prints latencies with logarithmic bars from minimum to 99 %: isolations range from 200 ns to 50 µs a call."""
    times = [time for found in results for time in (found.latency.minimum_ns, found.latency.p99_ns)]
    low = math.log(max(min(times), 1))
    width = math.log(max(*times, 1)) - low or 1
    rows, bars = [], []
    for found in results:
        took = found.latency
        rows.append(
            [found.isolation, f"{took.calls:,}", *map(time_text, (took.minimum_ns, took.median_ns, took.p99_ns))]
        )
        begin, end = (((math.log(max(time, 1)) - low) / width) for time in (took.minimum_ns, took.p99_ns))
        bars.append((begin, end))
    _print(("ISOLATION", "CALLS", "MINIMUM", "MEDIAN", "99 %"), rows, "minimum to 99 %, logarithmic", bars)


def _print_throughput(results: Sequence[Measured]) -> None:
    most = max(each.per_second for found in results for each in found.throughput)
    rows, bars = [], []
    for found in results:
        for each in found.throughput:
            rows.append([found.isolation, str(each.threads), f"{each.per_second:,.0f}"])
            bars.append((0.0, each.per_second / most))
    _print(("ISOLATION", "THREADS", "CALLS PER SECOND"), rows, "", bars)


def _memory(memory: Memory) -> str:
    """Describes the plugin's memory use."""
    if memory.rss is None:
        return "not available on this system"
    if memory.of == "host":
        return f"the host process grew by {bytes_text(memory.rss)}"
    share = "" if memory.pss is None else f" ({bytes_text(memory.pss)} with shared pages divided among their users)"
    return f"each worker process uses {bytes_text(memory.rss)}{share}"


def _print(
    headers: Sequence[str], rows: Sequence[Sequence[str]], title: str, bars: Sequence[tuple[float, float]]
) -> None:
    """Prints a table, and on a terminal a bar for each row; a bar's ends are fractions of the full width."""
    if not sys.stdout.isatty():
        print_table(headers, rows)
        return
    from rich import box
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(headers[0], no_wrap=True)
    for header in headers[1:]:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column(title, max_width=_WIDTH)  # on a narrow terminal, less
    for row, (begin, end) in zip(rows, bars, strict=True):
        # Even the shortest bar stays visible.
        left = min(begin, 1 - 1 / _WIDTH)
        table.add_row(*row, Bar(1, left, max(end, left + 1 / _WIDTH)))
    Console().print(table)
