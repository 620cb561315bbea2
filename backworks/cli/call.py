"""``backworks plugin call``."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from backworks.cli.exits import PLUGIN_FAILED, complain
from backworks.cli.options import ISOLATIONS, config_option, data_option, method_of, method_option
from backworks.cli.output import bytes_text, time_text
from backworks.cli.project import is_library, subject

if TYPE_CHECKING:
    from backworks.settings import Isolation

__all__ = ["call"]

#: Seconds that the plugin may take to stop after Ctrl-C. A call that hangs is then killed with its worker process, or
#: abandoned in its thread.
_SHUTDOWN_TIMEOUT = 0.5


@click.command()
@click.argument("file", type=click.Path(), required=False)
@click.argument("endpoint", metavar="ENDPOINT", required=False)
@method_option
@data_option
@config_option
@click.option(
    "--isolation",
    type=ISOLATIONS,
    default="process",
    show_default=True,
    help="Where the call runs: in a worker process, in a separate thread, or in the main thread.",
)
@click.option("--time", "timed", is_flag=True, help="Print to stderr how long startup and the call took.")
@click.pass_context
def call(
    ctx: click.Context,
    file: str | None,
    endpoint: str | None,
    method: str | None,
    data: bytes | None,
    config: dict[str, Any] | None,
    isolation: Isolation,
    timed: bool,
) -> None:
    """Load a plugin, call it once, and print the response.

    Without FILE, calls the plugin of the backworks.yaml in the current directory, with its configuration there.

    The plugin receives the data exactly as given here; over HTTP it receives the request as JSON. The response goes
    to stdout byte for byte; on a terminal, JSON is indented. If the plugin returns an error, the error and its code
    go to stderr and the exit code is 1. The exit code is also 1 if the plugin has no answer for the request.
    """
    import backworks
    from backworks.cli.progress import waiting

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", handlers=[_Stderr()])
    if endpoint is None and file is not None and not is_library(file):
        file, endpoint = None, file
    if endpoint is None:
        raise click.UsageError("missing ENDPOINT, such as /api/weather")
    chosen = subject(file, config)
    method = method_of(method, data)
    if isolation == "none":
        # Python handles Ctrl-C only after the plugin's function has returned; the default action does not wait.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    load = backworks.load  # imported here so that the import is not timed
    startup, called = _Stopwatch(), _Stopwatch()
    with waiting(f"starting {chosen.file}"), startup:
        plugin = load(chosen.file, chosen.config, isolation=isolation, timeout=None)  # the user can press Ctrl-C
    timeout = None
    try:
        with waiting(f"{plugin.name}: {method} {endpoint}"), called:
            result = plugin.call(endpoint, method, data or b"")
    except KeyboardInterrupt:
        timeout = _SHUTDOWN_TIMEOUT
        raise
    finally:
        if timed:
            complain([f"{plugin.name}: startup took {startup}, the call {called}"])
        plugin.close(timeout)
    if result is None:
        complain([f"{plugin.name} has no answer for {method} {endpoint}"])
        ctx.exit(PLUGIN_FAILED)
    _print(result.data)


class _Stopwatch:
    """Measures how long a block takes, even if it raises."""

    def __enter__(self) -> None:
        self._started = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self._took = time.perf_counter_ns() - self._started

    def __str__(self) -> str:
        return time_text(self._took)


class _Stderr(logging.Handler):
    """Writes to the current ``sys.stderr``, which the progress display replaces so that it stays below the log."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)  # noqa: T201


def _print(data: bytes) -> None:
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(data)
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        complain([f"the response is {bytes_text(len(data))} of binary data: redirect it to a file with > FILE"])
        return
    with contextlib.suppress(ValueError):  # other text is printed unchanged
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    click.echo(text)
