"""``backworks plugin dev``."""

from __future__ import annotations

import click

from backworks.cli.exits import complain
from backworks.cli.serve import log_to_stderr

__all__ = ["dev"]


@click.command()
@click.argument("directory", type=click.Path(), default=".")
@click.option("--host", help="Listen on this address instead of the configured one.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen on this port instead of the configured one; 0: any free port."
)
def dev(directory: str, host: str | None, port: int | None) -> None:
    """Serve the plugin in DIRECTORY, and rebuild it on each save.

    Serves the endpoints of its backworks.yaml until Ctrl-C. If a change does not compile, or the new plugin does not
    start, the error is reported and the previous build stays in service. The compiler's output and the plugin's log go
    to stderr.
    """
    from pathlib import Path

    from backworks.authoring.developing import develop

    log_to_stderr()
    develop(Path(directory), lambda line: complain([line]), click.echo, host=host, port=port)
