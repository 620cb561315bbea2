"""``backworks plugin dev``."""

from __future__ import annotations

import click

from backworks.cli.exits import complain
from backworks.cli.serve import log_to_stderr

__all__ = ["dev"]


@click.command()
@click.argument("directory", type=click.Path(), default=".")
@click.option("--host", help="Listen at this address instead of the configuration's.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen at this port instead of the configuration's; 0 is a free one."
)
def dev(directory: str, host: str | None, port: int | None) -> None:
    """Serve the plugin in DIRECTORY, built anew on each save.

    The endpoints of its backworks.yaml are served until Ctrl-C. What does not compile, or does not start, is told, and
    the plugin that is there answers on. The compiler's words and the plugin's log come to stderr.
    """
    from pathlib import Path

    from backworks.authoring.developing import develop

    log_to_stderr()
    develop(Path(directory), lambda line: complain([line]), click.echo, host=host, port=port)
