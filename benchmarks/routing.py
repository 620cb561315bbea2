"""The cost of routing, by the number of endpoints: ``python -m benchmarks.routing``.

The applications are called directly, as a server calls them, because the cost of a socket would hide that of routing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from backworks import PluginManager, create_app
from benchmarks.apps import CONSTANT, configuration
from benchmarks.command import command
from benchmarks.contenders import optional
from benchmarks.harness import Contender, Figure, Sample, interleave, per_call

COUNTS = (1, 100, 10_000)


def _scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def _requests(application: Any, path: str, count: int) -> float:
    gone = asyncio.Event()
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not sent:
            sent.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    start = time.perf_counter()
    for _ in range(count):
        sent: list[bool] = []
        messages.clear()
        await application(_scope(path), receive, send)
    taken = time.perf_counter() - start
    if messages[0]["status"] != 200 or messages[1]["body"] != CONSTANT:
        raise RuntimeError(f"unexpected response for {path}: {messages}")
    return taken


def _seconds(runner: asyncio.Runner, application: Any, path: str, count: int) -> float:
    return runner.run(_requests(application, path, count))


def _fastapi(endpoints: int) -> Any:
    from fastapi import FastAPI, Response

    app = FastAPI(openapi_url=None)

    async def answer(name: str = "") -> Response:
        del name
        return Response(CONSTANT, media_type="application/json")

    for number in range(1, endpoints):
        app.get(f"/api/{number}/{{name}}")(answer)
    app.get("/constant")(answer)
    return app


def figure(quick: bool) -> Figure:
    """Measures the figure."""
    groups: dict[str, dict[str, Sample]] = {}
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        for endpoints in COUNTS:
            config = configuration("none", "request", endpoints)
            manager = stack.enter_context(PluginManager.from_config(config))
            applications = {"Backworks": create_app(manager)}
            with optional("FastAPI"):
                applications["FastAPI"] = _fastapi(endpoints)
            paths = {"a fixed path": "/constant"}
            if endpoints > 1:
                paths["a parameter"] = f"/api/{endpoints - 1}/KORL"
            contenders = []
            for shown, application in applications.items():
                for kind, path in paths.items():
                    seconds_of = partial(_seconds, runner, application, path)
                    contenders.append(Contender(f"{shown}, {kind}", per_call(seconds_of, 0.01 if quick else 0.1)))
            groups[f"{endpoints:,} endpoint{'s' * (endpoints > 1)}"] = interleave(contenders, 3 if quick else 15)
    return Figure(
        "routing",
        "Time of one request inside the application, by the number of endpoints, lower is better",
        "ns",
        groups,
        ("FastAPI, a fixed path", "FastAPI, a parameter"),
        (
            (
                "There is no server and no socket. Backworks calls a plugin (`isolation: none`, with the request as "
                "JSON); FastAPI returns a constant."
            ),
            "The requested path is the last one in the configuration.",
        ),
    )


if __name__ == "__main__":
    sys.exit(command(figure))
