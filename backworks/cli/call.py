"""``backworks plugin call``."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
from typing import Any

import click

from backworks.cli.exits import PLUGIN_SAID_NO, complain
from backworks.cli.options import ISOLATIONS, config_option, data_option, method_of, method_option
from backworks.cli.output import bytes_text, time_text

__all__ = ["call"]

#: Seconds for the plugin to end after Ctrl-C. A call that hangs is killed with its process, or left behind in a thread.
_PATIENCE = 0.5


@click.command()
@click.argument("file", type=click.Path())
@click.argument("endpoint")
@method_option
@data_option
@config_option
@click.option(
    "--isolation",
    type=ISOLATIONS,
    default="process",
    show_default=True,
    help="Where the call runs: in a worker process, in a thread of its own, or in the main thread.",
)
@click.option("--time", "timed", is_flag=True, help="Say on stderr how long the start and the call took.")
@click.pass_context
def call(
    ctx: click.Context,
    file: str,
    endpoint: str,
    method: str | None,
    data: bytes | None,
    config: dict[str, Any],
    isolation: str,
    timed: bool,
) -> None:
    """Load a plugin, call it once, and print its answer.

    The data goes to the plugin as it is given here; over HTTP it would be the JSON of the request. The answer comes
    to stdout byte for byte; on a terminal JSON is indented. An error of the plugin goes to stderr with its code, and
    the exit code is 1, as it is where the plugin says that the request is not its own.
    """
    import backworks
    from backworks.cli.progress import waiting

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", handlers=[_Stderr()])
    method = method_of(method, data)
    if isolation == "none":
        # Python would see Ctrl-C only after the plugin's function has returned; the system does not wait.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    load = backworks.load  # which is imported now, not while the start is timed
    start_took, call_took = _Took(), _Took()
    with waiting(f"starting {file}"), start_took:
        plugin = load(file, config, isolation=isolation)
    patience = None
    try:
        with waiting(f"{plugin.name}: {method} {endpoint}"), call_took:
            result = plugin.call(endpoint, method, data or b"")
    except KeyboardInterrupt:
        patience = _PATIENCE
        raise
    finally:
        if timed:
            complain([f"{plugin.name}: the start took {start_took}, the call {call_took}"])
        plugin.close(patience)
    if result is None:
        complain([f"{plugin.name}: {method} {endpoint} is not its own: it gave no answer"])
        ctx.exit(PLUGIN_SAID_NO)
    _print(result.data)


class _Took:
    """How long a block took, however it ended."""

    def __enter__(self) -> None:
        self._begun = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self._took = time.perf_counter_ns() - self._begun

    def __str__(self) -> str:
        return time_text(self._took)


class _Stderr(logging.Handler):
    """Writes to what is ``sys.stderr`` at that moment: the display of progress stands in for it to stay below."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)  # noqa: T201


def _print(data: bytes) -> None:
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(data)
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        complain([f"the answer is {bytes_text(len(data))} that are no text: send them to a file, as with > FILE"])
        return
    with contextlib.suppress(ValueError):  # what is no JSON comes as it is
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    click.echo(text)
