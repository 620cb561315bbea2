"""Factories of the ASGI applications to serve: ``uvicorn --factory benchmarks.apps:bare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contenders import by_ctypes, library

if TYPE_CHECKING:
    from backworks.http.app import HttpApp
    from backworks.http.asgi import Receive, Scope, Send

#: The answer of the `constant` plugin; see peers/answers.h.
CONSTANT = b'{"station": "KORL", "temperature_celsius": 21, "wind_knots": 12}'


def bare() -> Any:
    """Returns a minimal ASGI application, which gives the same response to every request."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(CONSTANT)).encode())]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    body = {"type": "http.response.body", "body": CONSTANT}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        await send(start)
        await send(body)

    return application


def bare_echo() -> Any:
    """Returns a minimal ASGI application that echoes the request's body."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        data = b""
        while True:
            message = await receive()
            data += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    return application


async def _lifespan(receive: Receive, send: Send) -> None:
    for word in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{word}.complete"})


def configuration(isolation: str, data: str, endpoints: int = 1) -> dict[str, Any]:
    """Returns a configuration that serves ``/constant`` and ``/echo``, and further endpoints up to a number."""

    def endpoint(plugin: str, method: str) -> dict[str, Any]:
        return {"method": method, "runtime": {"type": "plugin", "handler": plugin}, "data": data}

    return {
        "plugins": {
            name: {"path": str(library(name)), "isolation": isolation, "critical": True}
            for name in ("constant", "echo")
        },
        "endpoints": {
            "/constant": endpoint("constant", "GET"),
            "/echo": endpoint("echo", "POST"),
            **{f"/api/{number}/{{name}}": endpoint("constant", "GET") for number in range(1, endpoints)},
        },
    }


def none_request() -> HttpApp:
    """Backworks with ``isolation: none``, where the plugin receives the request as JSON."""
    from backworks import create_app

    return create_app(configuration("none", "request"))


def fastapi_ctypes() -> Any:
    """FastAPI routes that call the same libraries with ctypes, in the event loop or, with `def`, in the thread pool."""
    from fastapi import FastAPI, Request, Response

    globals()["Request"] = Request  # FastAPI resolves annotations in the module's globals

    app = FastAPI()
    constant, echo = by_ctypes("constant")[1], by_ctypes("echo")[1]

    async def in_loop() -> Response:
        return Response(constant(b""), media_type="application/json")

    def in_thread() -> Response:
        return Response(constant(b""), media_type="application/json")

    async def body(request: Request) -> Response:
        return Response(echo(await request.body()), media_type="application/json")

    app.get("/constant")(in_loop)
    app.get("/constant/thread")(in_thread)
    app.post("/echo")(body)
    return app
