"""``backworks plugin bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backworks.cli.exits import WRONG_USE, complain
from backworks.cli.options import ISOLATIONS, config_option, data_option, method_of, method_option
from backworks.cli.output import json_option, print_json

if TYPE_CHECKING:
    from backworks.authoring.bench import Measured

__all__ = ["bench"]


@click.command()
@click.argument("file", type=click.Path())
@click.argument("endpoint", default="/")
@method_option
@data_option
@config_option
@click.option(
    "--isolation",
    "isolations",
    type=ISOLATIONS,
    multiple=True,
    help="Measure only this one; may be given again.  [default: all that the manifest allows]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="How long to measure each figure: one for latency, one for each number of threads.",
)
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    file: str,
    endpoint: str,
    method: str | None,
    data: bytes | None,
    config: dict[str, Any],
    isolations: tuple[str, ...],
    seconds: float,
    as_json: bool,
) -> None:
    """Measure what calls of a plugin cost, with each isolation.

    Latency is that of calls one after the other from one thread, each timed alone, from Python and back. Throughput
    is that of 1, 2, 4 and more threads, up to the cores of the machine, with as many workers. Memory is that of one
    worker process, or what the host's process has grown by.

    Each isolation runs in a process of its own. Without an ENDPOINT it is "/". A plugin that answers with an error or
    crashes ends the measurement: with what it said on stderr, and exit code 1.
    """
    from backworks.authoring import bench as measuring
    from backworks.authoring.bench.runs import cores, thread_counts
    from backworks.cli.progress import steps
    from backworks.cli.report import data as report
    from backworks.cli.report import print_figures
    from backworks.loading.loader import DynamicPluginLoader

    request = measuring.Request(endpoint, method_of(method, data), data or b"", config)
    asked = [each for each in measuring.ISOLATIONS if each in (isolations or measuring.ISOLATIONS)]
    refused = measuring.left_out(DynamicPluginLoader().prepare(file).manifest, asked)
    complain(f"isolation {each.isolation} is left out: {each.reason}" for each in refused)
    if len(refused) == len(asked):
        ctx.exit(WRONG_USE)
    results: list[Measured] = []
    try:
        with steps((len(asked) - len(refused)) * (1 + len(thread_counts(cores())))) as step:
            for found in measuring.bench(file, request, isolations=asked, seconds=seconds, step=step):
                results.append(found)  # noqa: PERF402  # those that came before one that fails are kept
    finally:
        if results and as_json:
            print_json(report(request, seconds, results, refused))
        elif results:
            print_figures(request, seconds, results)
