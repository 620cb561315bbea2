"""The ASGI application: routes requests, and starts and shuts down the plugins in the ASGI lifespan."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from backworks.errors import BackworksError, ConfigError
from backworks.http.asgi import Answer, Receive, Scope, Send, respond
from backworks.http.calls import Calls
from backworks.http.endpoint import Endpoint
from backworks.http.hosts import Hosts
from backworks.http.metrics import UNMATCHED, Metrics
from backworks.http.pages import Page, pages
from backworks.http.problems import problem
from backworks.http.request import Disconnected
from backworks.http.router import BadPath, Router
from backworks.isolation.threadpool import ThreadPool
from backworks.manager import PluginManager

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Mapping
    from pathlib import Path

    from backworks.config import Config

__all__ = ["HttpApp", "create_app"]

#: The routes of health checks.
_HEALTH = ("/healthz", "/readyz")

_logger = logging.getLogger("backworks.http")


def create_app(
    config: str | Path | Mapping[str, Any] | Config | PluginManager, *, manager: PluginManager | None = None
) -> HttpApp:
    """Creates an ASGI application.

    Args:
        config: The path of a configuration, a mapping with the content of a file, or a
            :class:`backworks.config.Config`. The application starts its plugins at server startup (the ASGI lifespan)
            and shuts them down with the server. Or a running :class:`backworks.PluginManager` that has a configuration;
            the caller closes it.
        manager: A running manager with the plugins that the endpoints use, so that the application starts none; the
            caller closes it.

    Raises:
        ConfigError: The configuration is not valid.
        ValueError: The manager has no configuration.
    """
    from backworks.config import as_config

    if isinstance(config, PluginManager):
        if config.config is None:
            raise ValueError(
                "the manager has no configuration and therefore no endpoints; pass both: "
                "create_app(config, manager=manager)"
            )
        return HttpApp(config.config, config)
    return HttpApp(as_config(config), manager)


class HttpApp:
    """An ASGI 3 application; see :func:`create_app`.

    Args:
        config: The configuration.
        manager: A running manager, or ``None`` to start one.

    Attributes:
        config: The configuration.
        loop: The event loop in which it runs, if known.
        metrics: The metrics.
    """

    def __init__(self, config: Config, manager: PluginManager | None) -> None:
        self.config = config
        self.loop: asyncio.AbstractEventLoop | None = None
        self._manager: PluginManager | None = None
        self._local = False
        self._hosts: Hosts | None = None
        self._calls = Calls()
        self.metrics = Metrics()
        if manager is None:
            self.switch(self.prepare(config))
        else:
            self._adopt(manager)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        answer = await self.answer(scope, receive)
        if answer is not None:
            await respond(answer, scope, send)

    async def serve_health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request of a connection beyond the limit: responds to health checks only, and closes it.

        Args:
            scope: The ASGI scope.
            receive: The ASGI callable.
            send: The ASGI callable.
        """
        if scope["path"] in _HEALTH:
            answer = await self.answer(scope, receive)
        else:
            answer = problem(503, "the server has too many connections", headers=((b"retry-after", b"1"),))
            self.metrics.answered(UNMATCHED, scope["method"], 503)
        if answer is not None:
            await respond(answer, scope, send, close=True)

    async def answer(self, scope: Scope, receive: Receive, body: bytes | None = None) -> Answer | bytes | None:
        """Handles one request and counts it.

        Args:
            scope: The ASGI scope.
            receive: The ASGI callable.
            body: The body, if it has already been received.

        Returns:
            The response, as plain bytes if the plugin has set no HTTP fields; ``None`` if the client disconnected.
        """
        method = scope["method"]
        route = UNMATCHED
        try:
            if self._hosts is not None and (refusal := self._hosts.refusal(method, scope["headers"])) is not None:
                self.metrics.answered(route, method, refusal.status)
                return refusal
            path = scope.get("raw_path")
            if path is None or scope.get("root_path"):
                path = _raw_path(scope)
            found = self._router.find(path)
            if found is None:
                answer: Answer | bytes = problem(404, f"no endpoint matches {scope['path']}")
            else:
                target, params = found
                route = target.route
                if method in target.methods and self._manager is not None:
                    answer = await target.answer(self._manager, scope, receive, params, method, body)
                else:
                    answer = await self._ask(target, params, scope, receive, body)
        except BadPath:
            answer = problem(400, "the path must be percent-encoded UTF-8")
        except Disconnected:
            self.metrics.answered(route, method, 499)
            return None
        except Exception:
            _logger.exception("%s %s failed", method, route)
            answer = problem(500, "the server failed to handle the request; see its log")
        self.metrics.answered(route, method, 200 if isinstance(answer, bytes) else answer.status)
        return answer

    def resume(
        self, request: Coroutine[Any, Any, Answer | bytes | None], future: object
    ) -> Awaitable[Answer | bytes | None]:
        """Continues a request that was started without a task, in the task that awaits this.

        Args:
            request: The coroutine of :meth:`answer` after its first step.
            future: The future on which that step waits.
        """
        return self._calls.resume(request, future)

    def give_up(self) -> None:
        """Responds with 503 to all requests that wait for a plugin, because the server shuts down."""
        self._calls.give_up()

    def prepare(self, config: Config) -> tuple[Config, Router[Endpoint | Page]]:
        """Creates the routes of a configuration without using them.

        Raises:
            ConfigError: Two routes match the same paths.
        """
        targets: dict[str, Endpoint | Page] = {**pages(config, self.metrics)}
        for route, endpoint in config.endpoints.items():
            targets[route] = Endpoint(route, endpoint, config.server.max_body, self._calls, self.metrics)
        try:
            return config, Router(targets)
        except ValueError as error:
            raise ConfigError([f"endpoints: {error}"]) from None

    def switch(self, prepared: tuple[Config, Router[Endpoint | Page]]) -> None:
        """Switches to other routes; requests that already have a route keep it."""
        self.config, self._router = prepared
        server = self.config.server
        # The name of the machine may stand for a loopback address.
        allowed = (*server.allowed_hosts, server.host) if self._local else server.allowed_hosts
        self._hosts = Hosts(allowed, local=self._local) if allowed else None

    def serve_locally(self) -> None:
        """Answers for the names of this machine alone, because the server listens on loopback addresses alone."""
        self._local = True
        self.switch((self.config, self._router))

    def settle(self, timeout: float | None) -> None:
        """Waits until all requests that got their routes before :meth:`switch` have called their plugins.

        Does not wait if called in the event loop's thread, which these requests need.
        """
        loop = self.loop
        if loop is None or not loop.is_running():
            return
        with suppress(RuntimeError):
            if asyncio.get_running_loop() is loop:
                return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._calls.settled(), loop).result(timeout)

    def _adopt(self, manager: PluginManager) -> None:
        """Uses a manager: its plugins, its metrics, and every configuration that it loads from now on."""
        self.metrics.manager = manager
        self.switch(self.prepare(self.config))
        self._manager = manager
        manager.follow(self)

    async def _ask(
        self,
        target: Endpoint | Page,
        params: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        body: bytes | None,
    ) -> Answer | bytes:
        method = scope["method"]
        if method not in target.methods:
            taken = _allow(target.methods)
            allow = ((b"allow", taken),)
            if method == "OPTIONS":
                return Answer(204, headers=allow)
            if method != "HEAD" or "GET" not in target.methods:
                detail = f"{target.route} does not allow {method}; it allows {taken.decode()}"
                return problem(405, detail, headers=allow)
            method = "GET"
        if self._manager is None:
            return problem(503, "the plugins are not running: the server must support the ASGI lifespan protocol")
        return await target.answer(self._manager, scope, receive, params, method, body)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self._lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close"})
            case other:
                raise RuntimeError(f"the ASGI server must use 'http', 'websocket' or 'lifespan', not {other!r}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.loop = asyncio.get_running_loop()
        if self._manager is not None:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        else:
            threads = ThreadPool(1, "backworks-lifespan")  # a plugin that hangs must not block the event loop
            try:
                start = threads.submit(lambda: PluginManager.from_config(self.config))
                manager = await asyncio.wrap_future(start)
                self._adopt(manager)
            except Exception as error:
                if not isinstance(error, BackworksError):
                    _logger.exception("startup failed")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._manager = None
            timeout = self.config.server.shutdown_timeout
            await asyncio.wrap_future(threads.submit(lambda: manager.close(timeout)))
            threads.close()
        await send({"type": "lifespan.shutdown.complete"})


def _raw_path(scope: Scope) -> bytes:
    raw: bytes | None = scope.get("raw_path")
    if raw is None:  # optional in ASGI; without it, an encoded slash looks like any other
        raw = quote(scope["path"]).encode()
    root: str = scope.get("root_path", "")
    return raw.removeprefix(quote(root).encode()) if root else raw


def _allow(methods: frozenset[str]) -> bytes:
    more = {"OPTIONS", "HEAD"} if "GET" in methods else {"OPTIONS"}
    return ", ".join(sorted(methods | more)).encode()
