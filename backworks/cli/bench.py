"""``backworks plugin bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backworks.cli.exits import USAGE_ERROR, complain
from backworks.cli.options import ISOLATIONS, config_option, data_option, method_of, method_option
from backworks.cli.output import json_option, print_json
from backworks.cli.project import is_library, subject

if TYPE_CHECKING:
    from backworks.authoring.bench import Measured

__all__ = ["bench"]


@click.command()
@click.argument("file", type=click.Path(), required=False)
@click.argument("endpoint", required=False)
@method_option
@data_option
@config_option
@click.option(
    "--isolation",
    "isolations",
    type=ISOLATIONS,
    multiple=True,
    help="Measure only this isolation; can be repeated.  [default: all that the manifest allows]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="Duration of each measurement: one for latency, one for each number of threads.",
)
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    file: str | None,
    endpoint: str | None,
    method: str | None,
    data: bytes | None,
    config: dict[str, Any] | None,
    isolations: tuple[str, ...],
    seconds: float,
    as_json: bool,
) -> None:
    """Measure the cost of calling a plugin, with each isolation.

    Without FILE, measures the plugin of the backworks.yaml in the current directory, with its configuration there.

    Latency: one thread makes one call after the other; each call is timed separately, from Python and back.
    Throughput: 1, 2, 4 and more threads make calls, up to the number of cores, with as many workers. Memory: the size
    of one worker process, or the growth of the host process.

    Each isolation is measured in a separate process. ENDPOINT defaults to "/". If the plugin returns an error or
    crashes, the measurement stops: the error goes to stderr, and the exit code is 1.
    """
    from backworks.authoring import bench as measuring
    from backworks.authoring.bench.runs import cores, thread_counts
    from backworks.cli.progress import steps
    from backworks.cli.report import data as report
    from backworks.cli.report import print_figures
    from backworks.loading.prepared import prepare

    if endpoint is None and file is not None and not is_library(file):
        file, endpoint = None, file
    file, settings = subject(file, config)
    request = measuring.Request(endpoint or "/", method_of(method, data), data or b"", settings)
    asked = [each for each in measuring.ISOLATIONS if each in (isolations or measuring.ISOLATIONS)]
    refused = measuring.left_out(prepare(file).manifest, asked)
    complain(f"skipping isolation {each.isolation}: {each.reason}" for each in refused)
    if len(refused) == len(asked):
        ctx.exit(USAGE_ERROR)
    results: list[Measured] = []
    try:
        with steps((len(asked) - len(refused)) * (1 + len(thread_counts(cores())))) as step:
            for found in measuring.bench(file, request, isolations=asked, seconds=seconds, step=step):
                results.append(found)  # noqa: PERF402  # a later failure keeps the earlier results
    finally:
        if results and as_json:
            print_json(report(request, seconds, results, refused))
        elif results:
            print_figures(request, seconds, results)
