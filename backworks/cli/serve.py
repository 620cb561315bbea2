"""``backworks serve``."""

from __future__ import annotations

import click

from backworks.cli.exits import complain

__all__ = ["log_to_stderr", "serve"]


@click.command()
@click.argument("config", type=click.Path())
@click.option("--host", help="Listen on this address instead of the configured one.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen on this port instead of the configured one; 0: any free port."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Serve in this many processes instead of the configured number."
)
@click.option("--reload", is_flag=True, help="Reload the configuration whenever it or one of its libraries changes.")
def serve(config: str, host: str | None, port: int | None, workers: int | None, reload: bool) -> None:
    """Serve the endpoints of a configuration over HTTP.

    On Ctrl-C or SIGTERM, the server finishes requests in flight, then shuts down every plugin. /docs is a page to try
    the endpoints; /healthz, /readyz and /metrics are for monitoring. The log goes to stderr.

    SIGHUP reloads the configuration without downtime: changed plugins start before the old ones stop. If one fails to
    start, the old configuration stays in effect.
    """
    from backworks.cli.init import run_below_process_1

    run_below_process_1()  # before there are threads

    from backworks.config import load_config, warnings_of
    from backworks.http.server import serve as serve_http

    log_to_stderr()
    loaded = load_config(config)
    complain(f"warning: {line}" for line in warnings_of(loaded))
    serve_http(loaded, host, port, workers, reload=reload, announce=click.echo, prepare=log_to_stderr)


def log_to_stderr() -> None:
    """Sends log records to stderr, one line each."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # at INFO it logs its own startup steps
