"""Compares servers, event loops and HTTP parsers, and measures the effect of a second process.

``python -m benchmarks.server_choice``: the bare application and Backworks (`isolation: none`), on each.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial

from benchmarks.command import command
from benchmarks.contenders import optional
from benchmarks.harness import Contender, Figure, Sample, interleave
from benchmarks.serving import Load, free_port, python, running

APPLICATIONS = {"bare ASGI": "bare", "Backworks": "none_request"}
_UVICORN = ("uvicorn", "--factory", "--no-access-log", "--log-level", "warning")
_GRANIAN = ("granian", "--interface", "asgi", "--factory", "--no-ws", "--log-level", "warning")
_HYPERCORN = ("hypercorn", "--log-level", "warning")

#: Name -> the module and its options.
SERVERS = {
    "uvicorn, asyncio, h11": (*_UVICORN, "--loop", "asyncio", "--http", "h11"),
    "uvicorn, asyncio, httptools": (*_UVICORN, "--loop", "asyncio", "--http", "httptools"),
    "uvicorn, uvloop, h11": (*_UVICORN, "--loop", "uvloop", "--http", "h11"),
    "uvicorn, uvloop, httptools": (*_UVICORN, "--loop", "uvloop", "--http", "httptools"),
    "granian, asyncio": (*_GRANIAN, "--loop", "asyncio"),
    "granian, uvloop": (*_GRANIAN, "--loop", "uvloop"),
    "hypercorn, uvloop": (*_HYPERCORN, "--worker-class", "uvloop"),
}


def server(name: str, application: str, port: int, workers: int) -> list[str]:
    """Returns the command that serves an application of apps.py."""
    module, *options = SERVERS[name]
    where = (
        ["--bind", f"127.0.0.1:{port}", f"benchmarks.apps:{application}()"]
        if module == "hypercorn"
        else ["--host", "127.0.0.1", "--port", str(port), f"benchmarks.apps:{application}"]
    )
    return python("-m", module, *options, "--workers", str(workers), *where)


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    load = Load(1)
    groups: dict[str, dict[str, Sample]] = {}
    for shown, application in APPLICATIONS.items():
        for workers in (1, 2):
            with ExitStack() as stack:
                contenders = []
                for name in SERVERS:
                    port = free_port()
                    with optional(name):
                        stack.enter_context(running(server(name, application, port, workers), port, "/constant"))
                        contenders.append(Contender(name, partial(load.measure, port, "/constant")))
                group = f"{shown}, {workers} process{'es' * (workers > 1)}"
                groups[group] = interleave(contenders, 1 if quick else 5)
    return Figure(
        "server_choice",
        "Requests per second of servers for `backworks serve`, higher is better",
        "requests/s",
        groups,
        ("uvicorn, uvloop, httptools",),
        (
            load.note(),
            "wrk (one thread, 32 connections) and the server share the machine's cores, without CPU pinning.",
        ),
        more_is_better=True,
        logarithmic=False,
    )


if __name__ == "__main__":
    sys.exit(command(figure))
