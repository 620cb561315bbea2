"""The options that ``plugin call``, ``bench`` and ``test`` share: the request, and the plugin's configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["ISOLATIONS", "config_option", "data_option", "method_of", "method_option"]

ISOLATIONS = click.Choice(["process", "thread", "none"])


def _bytes(ctx: click.Context, parameter: click.Parameter, value: str | None) -> bytes | None:
    """Reads the value of ``TEXT``, ``@FILE`` or ``-``."""
    if value == "-":
        return sys.stdin.buffer.read()
    if value is not None and value.startswith("@"):
        try:
            return Path(value[1:]).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"{value[1:]}: {error.strerror or error}", ctx, parameter) from None
    return None if value is None else value.encode("utf-8", "surrogateescape")


def _object(ctx: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """Reads a JSON object from the argument or a file."""
    text = _bytes(ctx, parameter, value)
    if text is None:
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not valid JSON: {error}", ctx, parameter) from None
    if not isinstance(config, dict):
        raise click.BadParameter('the configuration must be a JSON object, such as {"reports": "x"}', ctx, parameter)
    return config


method_option = click.option("--method", help="The HTTP method.  [default: GET, or POST with --data]")
data_option = click.option(
    "--data", metavar="TEXT|@FILE|-", callback=_bytes, help="The data; @FILE reads a file, - reads stdin."
)
config_option = click.option(
    "--config",
    metavar="JSON|@FILE",
    callback=_object,
    help="The plugin's configuration.  [default: with FILE, empty; else from backworks.yaml]",
)


def method_of(method: str | None, data: bytes | None) -> str:
    """Returns the method as plugins receive it: in upper case, GET or POST by default."""
    return (method or ("GET" if data is None else "POST")).upper()
