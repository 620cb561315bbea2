"""The server's own pages: its health, its metrics, and the description of the endpoints."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from pydantic_core import to_json

from backworks.http.asgi import Answer, Receive, Scope
from backworks.http.openapi import describe
from backworks.http.readiness import Readiness
from backworks.isolation.threadpool import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Future

    from backworks.config import Config
    from backworks.http.metrics import Metrics
    from backworks.manager import PluginManager
    from backworks.observing.counters import PluginMetrics

    Make = Callable[[PluginManager, Scope], Awaitable[Answer]]

__all__ = ["Page", "pages"]

_JSON = b"application/json"
#: These pages describe the current state, so clients must not cache them.
_FRESH = ((b"cache-control", b"no-store"),)


class Page:
    """One of the server's own routes, for GET and HEAD.

    Args:
        route: Its path.
        make: Creates the response.
    """

    methods = frozenset(("GET",))

    def __init__(self, route: str, make: Make) -> None:
        self.route = route
        self._make = make

    async def answer(
        self,
        manager: PluginManager,
        scope: Scope,
        receive: Receive,
        params: Mapping[str, str],
        method: str,
        body: bytes | None = None,
    ) -> Answer:
        """Like :meth:`backworks.http.endpoint.Endpoint.answer`."""
        return await self._make(manager, scope)


def pages(config: Config, metrics: Metrics) -> Mapping[str, Page]:
    """Creates the server's own routes; the configuration cannot use their paths for endpoints.

    Args:
        config: The configuration whose endpoints to describe.
        metrics: The application's metrics.
    """
    own = _Own(config, metrics)
    routes: dict[str, Make] = {
        "/healthz": own.healthz,
        "/readyz": own.readyz,
        "/metrics": own.metrics,
        "/openapi.json": own.openapi,
        "/docs": own.docs,
    }
    return {route: Page(route, make) for route, make in routes.items()}


class _Own:
    """The content of the pages."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._readiness = Readiness()
        self._measuring: Future[Mapping[str, PluginMetrics]] | None = None

    async def healthz(self, manager: PluginManager, scope: Scope) -> Answer:
        return Answer(200, b'{"status":"ok"}', _JSON, _FRESH)

    async def readyz(self, manager: PluginManager, scope: Scope) -> Answer:
        ready, report = await self._readiness.check(manager)
        return Answer(200 if ready else 503, to_json(report), _JSON, _FRESH)

    async def metrics(self, manager: PluginManager, scope: Scope) -> Answer:
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        # In a thread, because this reads the memory usage of worker processes from the operating system. Requests that
        # come meanwhile share the result.
        if self._measuring is None or self._measuring.done():
            self._measuring = in_thread(manager.metrics, "backworks-metrics")
        found = await asyncio.shield(asyncio.wrap_future(self._measuring))
        text, content_type = self._metrics.exposition(found, accept.decode("latin-1"))
        return Answer(200, text, content_type.encode(), _FRESH)

    async def openapi(self, manager: PluginManager, scope: Scope) -> Answer:
        document = describe(self._config, manager.plugins, base=scope.get("root_path") or "/")
        return Answer(200, to_json(document), _JSON)

    async def docs(self, manager: PluginManager, scope: Scope) -> Answer:
        page, policy = _docs()
        headers = (
            (b"content-security-policy", policy),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        )
        return Answer(200, page, b"text/html; charset=utf-8", headers)


@cache
def _docs() -> tuple[bytes, bytes]:
    """Returns the page, and a content security policy that only allows its own script and style, by their hashes."""
    page = resources.files("backworks.http").joinpath("docs.html").read_bytes().replace(b"\r\n", b"\n")
    policy = [
        "default-src 'none'",
        f"script-src {_hash(page, b'script')}",
        f"style-src {_hash(page, b'style')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return page, "; ".join(policy).encode()


def _hash(page: bytes, element: bytes) -> str:
    inline = re.search(rb"<%b>(.*)</%b>" % (element, element), page, re.DOTALL)
    if inline is None:
        raise RuntimeError(f"the page has no {element.decode()}")
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline[1]).digest()).decode()}'"
