"""Requests per second of one endpoint, next to a bare application and FastAPI: ``python -m benchmarks.server``."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, nullcontext
from functools import partial

from benchmarks import BUILD
from benchmarks.apps import configuration
from benchmarks.command import command
from benchmarks.contenders import optional
from benchmarks.harness import Contender, Figure, interleave
from benchmarks.serving import Load, free_port, python, running

#: One server for all contenders, the one that `backworks serve` uses; see server_choice.py.
_UVICORN = ("-m", "uvicorn", "--factory", "--loop", "uvloop", "--http", "httptools", "--no-access-log")

#: Request -> the contenders: an application in apps.py or a configuration for `backworks serve`, and the path.
CASES: dict[str, dict[str, tuple[str | tuple[str, str], str]]] = {
    "GET, an answer of 64 B": {
        "bare ASGI": ("bare", "/constant"),
        "Backworks, none, data: body": (("none", "body"), "/constant"),
        "Backworks, none, data: request": (("none", "request"), "/constant"),
        "Backworks, thread, data: body": (("thread", "body"), "/constant"),
        "Backworks, thread, data: request": (("thread", "request"), "/constant"),
        "Backworks, process, data: body": (("process", "body"), "/constant"),
        "Backworks, process, data: request": (("process", "request"), "/constant"),
        "Backworks under uvicorn, none, data: request": ("none_request", "/constant"),
        "FastAPI and ctypes, async def": ("fastapi_ctypes", "/constant"),
        "FastAPI and ctypes, def": ("fastapi_ctypes", "/constant/thread"),
    },
    "POST, 1 KiB there and back": {
        "bare ASGI": ("bare_echo", "/echo"),
        "Backworks, none, data: body": (("none", "body"), "/echo"),
        "Backworks, thread, data: body": (("thread", "body"), "/echo"),
        "Backworks, process, data: body": (("process", "body"), "/echo"),
        "FastAPI and ctypes, async def": ("fastapi_ctypes", "/echo"),
    },
}


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    load = Load(1 if quick else 2)
    groups = {}
    for case, applications in CASES.items():
        post = case.startswith("POST")
        with ExitStack() as stack:
            contenders = []
            for name, (application, path) in applications.items():
                port = free_port()
                serve = _serve(*application, port) if isinstance(application, tuple) else _uvicorn(application, port)
                with optional(name) if name.startswith("FastAPI") else nullcontext():
                    stack.enter_context(running(serve, port, path))
                    contenders.append(_contender(name, load, port, path, post=post))
            groups[case] = interleave(contenders, 1 if quick else 9)
    return Figure(
        "server",
        "Requests per second of one endpoint (uvloop, httptools), higher is better",
        "requests/s",
        groups,
        ("bare ASGI", "FastAPI and ctypes, async def"),
        (
            load.note(),
            "wrk (one thread, 32 connections) and the server share the machine's cores, without CPU pinning.",
            "Backworks is `backworks serve`, or its ASGI application under the same uvicorn as the others.",
            (
                "The bare application returns a constant, or the request's body; the others get the same bytes from "
                "the same C code."
            ),
        ),
        more_is_better=True,
        logarithmic=False,
    )


def _contender(name: str, load: Load, port: int, path: str, *, post: bool) -> Contender:
    return Contender(name, partial(load.measure, port, path, post=post))


def _uvicorn(application: str, port: int) -> list[str]:
    return python(*_UVICORN, "--log-level", "warning", "--port", str(port), f"benchmarks.apps:{application}")


def _serve(isolation: str, data: str, port: int) -> list[str]:
    file = BUILD / f"serve_{isolation}_{data}.yaml"
    file.write_text(json.dumps(configuration(isolation, data)))  # JSON is YAML
    return python("-P", "-m", "backworks", "serve", str(file), "--port", str(port))


if __name__ == "__main__":
    sys.exit(command(figure))
