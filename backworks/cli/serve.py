"""``backworks serve``."""

from __future__ import annotations

import click

from backworks.cli.exits import complain

__all__ = ["log_to_stderr", "serve"]


@click.command()
@click.argument("config", type=click.Path())
@click.option("--host", help="Listen at this address instead of the configuration's.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen at this port instead of the configuration's; 0 is a free one."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Serve in this many processes instead of the configuration's number."
)
@click.option("--reload", is_flag=True, help="Load the configuration anew whenever it, or a library of it, changes.")
def serve(config: str, host: str | None, port: int | None, workers: int | None, reload: bool) -> None:
    """Serve the endpoints of a configuration over HTTP.

    Until Ctrl-C or SIGTERM: then running requests are let end, and every plugin is shut down. /docs has a page to
    try the endpoints; /healthz, /readyz and /metrics are for machines. The log goes to stderr.

    SIGHUP loads the configuration anew while requests are answered: what has changed is started first, and if that
    fails, everything stays as it was.
    """
    from backworks.config import load_config, warnings_of
    from backworks.http.server import serve as serve_http

    log_to_stderr()
    loaded = load_config(config)
    complain(f"warning: {line}" for line in warnings_of(loaded))
    serve_http(loaded, host, port, workers, reload=reload, announce=click.echo, prepare=log_to_stderr)


def log_to_stderr() -> None:
    """Sends what is logged to stderr, in one line each."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # it counts its own start-up steps
