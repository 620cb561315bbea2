"""The ASGI application: from a request to what answers it, and the plugins' life from the server's start to its end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from backworks.errors import BackworksError, ConfigError
from backworks.http.asgi import Answer, Receive, Scope, Send, parts
from backworks.http.calls import Calls
from backworks.http.endpoint import Endpoint
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

_logger = logging.getLogger("backworks.http")


def create_app(
    config: str | Path | Mapping[str, Any] | Config | PluginManager, *, manager: PluginManager | None = None
) -> HttpApp:
    """Makes an ASGI application.

    Args:
        config: The path of a configuration, the mapping that a file would hold, or a
            :class:`backworks.config.Config`; the application starts its plugins when its server starts (the ASGI
            lifespan) and shuts them down when it ends. Or a running :class:`backworks.PluginManager` that was made from
            one of these: it stays its owner's to close.
        manager: A running manager with the plugins that the configuration's endpoints name, instead of one that is
            started; it stays its owner's to close.

    Raises:
        ConfigError: The configuration is wrong.
        ValueError: The manager was not made from a configuration.
    """
    from backworks.config import as_config

    if isinstance(config, PluginManager):
        if config.config is None:
            raise ValueError(
                "a manager that was not made from a configuration knows no endpoints; pass both: "
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
        loop: The event loop that it runs in, if that is known.
        metrics: The numbers.
    """

    def __init__(self, config: Config, manager: PluginManager | None) -> None:
        self.config = config
        self.loop: asyncio.AbstractEventLoop | None = None
        self._manager: PluginManager | None = None
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
            status, headers, body = parts(answer, head=scope["method"] == "HEAD")
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def answer(self, scope: Scope, receive: Receive, body: bytes | None = None) -> Answer | bytes | None:
        """Answers one request, and counts it.

        Args:
            scope: The ASGI scope.
            receive: The ASGI callable.
            body: The body, if it is there already.

        Returns:
            The answer; only its bytes where a plugin says nothing else of it. ``None`` if the client went away.
        """
        method = scope["method"]
        route = UNMATCHED
        try:
            path = scope.get("raw_path")
            if path is None or scope.get("root_path"):
                path = _raw_path(scope)
            found = self._router.find(path)
            if found is None:
                answer: Answer | bytes = problem(404, f"there is nothing at {scope['path']}")
            else:
                target, params = found
                route = target.route
                if method in target.methods and self._manager is not None:
                    answer = await target.answer(self._manager, scope, receive, params, method, body)
                else:
                    answer = await self._ask(target, params, scope, receive, body)
        except BadPath:
            answer = problem(400, "the path is not percent-encoded UTF-8")
        except Disconnected:
            self.metrics.answered(route, method, 499)
            return None
        except Exception:
            _logger.exception("%s %s failed", method, route)
            answer = problem(500, "the server has failed; its log says how")
        self.metrics.answered(route, method, 200 if isinstance(answer, bytes) else answer.status)
        return answer

    def resume(
        self, request: Coroutine[Any, Any, Answer | bytes | None], future: object
    ) -> Awaitable[Answer | bytes | None]:
        """Goes on with a request that was begun without a task, in the task that awaits this.

        Args:
            request: What :meth:`answer` returned, right after its first step.
            future: What that step waits for.
        """
        return self._calls.resume(request, future)

    def give_up(self) -> None:
        """Answers the requests that wait for a plugin with 503, because the server stops."""
        self._calls.give_up()

    def prepare(self, config: Config) -> tuple[Config, Router[Endpoint | Page]]:
        """Makes the routes of a configuration, and changes nothing.

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
        """Goes over to other routes; requests that have found theirs keep it."""
        self.config, self._router = prepared

    def settle(self, timeout: float | None) -> None:
        """Waits until the requests that found their routes before :meth:`switch` are with their plugins.

        Not in the event loop's own thread, which has to go on for that.
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
        """Goes over to a manager: its plugins, its numbers, and each configuration that it will load."""
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
                detail = f"{target.route} does not take {method}; it takes {taken.decode()}"
                return problem(405, detail, headers=allow)
            method = "GET"
        if self._manager is None:
            return problem(503, "the plugins have not been started: the server has to speak the ASGI lifespan protocol")
        return await target.answer(self._manager, scope, receive, params, method, body)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self._lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close"})
            case other:
                raise RuntimeError(f"backworks serves HTTP; the server asked for {other!r}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.loop = asyncio.get_running_loop()
        if self._manager is not None:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        else:
            threads = ThreadPool(1, "backworks-lifespan")  # a plugin that hangs must not hold the event loop
            try:
                start = threads.submit(lambda: PluginManager.from_config(self.config))
                manager = await asyncio.wrap_future(start)
                self._adopt(manager)
            except Exception as error:
                if not isinstance(error, BackworksError):
                    _logger.exception("the start failed")
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
    if raw is None:  # optional in ASGI; an encoded slash cannot be told from another then
        raw = quote(scope["path"]).encode()
    root: str = scope.get("root_path", "")
    return raw.removeprefix(quote(root).encode()) if root else raw


def _allow(methods: frozenset[str]) -> bytes:
    more = {"OPTIONS", "HEAD"} if "GET" in methods else {"OPTIONS"}
    return ", ".join(sorted(methods | more)).encode()
