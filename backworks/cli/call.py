"""``backworks plugin call``."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backworks.cli.exits import PLUGIN_SAID_NO, complain

if TYPE_CHECKING:
    from backworks.answers import PluginResult

__all__ = ["call"]

#: Seconds for the plugin to end after Ctrl-C. A call that hangs is killed with its process, or left behind in a thread.
_PATIENCE = 0.5


def _data(ctx: click.Context, parameter: click.Parameter, value: str | None) -> bytes | None:
    """Reads ``TEXT``, ``@FILE`` or ``-``."""
    if value == "-":
        return sys.stdin.buffer.read()
    if value is not None and value.startswith("@"):
        try:
            return Path(value[1:]).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"{value[1:]}: {error.strerror or error}", ctx, parameter) from None
    return None if value is None else value.encode("utf-8", "surrogateescape")


def _config(ctx: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any]:
    """Reads a JSON object, or that of a file."""
    text = _data(ctx, parameter, value)
    try:
        config = json.loads(text) if text is not None else {}
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}", ctx, parameter) from None
    if not isinstance(config, dict):
        raise click.BadParameter('a configuration is a JSON object, such as {"reports": "x"}', ctx, parameter)
    return config


@click.command()
@click.argument("file", type=click.Path())
@click.argument("endpoint")
@click.option("--method", help="The method.  [default: GET, or POST with --data]")
@click.option("--data", metavar="TEXT|@FILE|-", callback=_data, help="The data; of a file with @, of stdin with -.")
@click.option("--config", metavar="JSON|@FILE", callback=_config, help="The plugin's own configuration.")
@click.option(
    "--isolation",
    type=click.Choice(["process", "thread", "none"]),
    default="process",
    show_default=True,
    help="Where the call runs: in a worker process, in a thread of its own, or in the main thread.",
)
@click.pass_context
def call(
    ctx: click.Context,
    file: str,
    endpoint: str,
    method: str | None,
    data: bytes | None,
    config: dict[str, Any],
    isolation: str,
) -> None:
    """Load a plugin, call it once, and print its answer.

    The data goes to the plugin as it is given here; over HTTP it would be the JSON of the request. The answer comes
    to stdout byte for byte; on a terminal JSON is indented. An error of the plugin goes to stderr with its code, and
    the exit code is 1, as it is where the plugin says that the request is not its own.
    """
    import logging

    import backworks

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    method = (method or ("GET" if data is None else "POST")).upper()
    if isolation == "none":
        # Python would see Ctrl-C only after the plugin's function has returned; the system does not wait.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    plugin = backworks.load(file, config, isolation=isolation)
    patience = None
    try:
        result = plugin.call(endpoint, method, data or b"")
    except KeyboardInterrupt:
        patience = _PATIENCE
        raise
    finally:
        plugin.close(patience)
    if result is None:
        complain([f"{plugin.name}: {method} {endpoint} is not its own: it gave no answer"])
        ctx.exit(PLUGIN_SAID_NO)
    _print(result)


def _print(result: PluginResult) -> None:
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(result.data)
        return
    try:
        click.echo(json.dumps(json.loads(result.data), indent=2, ensure_ascii=False))
    except ValueError:
        click.echo(result.data)
