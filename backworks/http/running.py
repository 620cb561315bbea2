"""Runs one server process: starts the plugins, serves the application with uvicorn, and shuts the plugins down."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from backworks.http.app import HttpApp, create_app
from backworks.http.hosts import is_loopback
from backworks.http.protocol import http_protocol
from backworks.http.reloads import Reloads, attempt
from backworks.http.sharing import EVERY
from backworks.http.watch import Watch
from backworks.manager import PluginManager

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from backworks.config import Config
    from backworks.http.sharing import Shared

__all__ = ["Stop", "run"]

#: How many seconds the plugins always have for their shutdown, even if requests have used up the shutdown timeout.
_LEFT_FOR_PLUGINS = 0.5
#: How many seconds remain to respond to abandoned requests and to close their connections.
_LAST_WORDS = 0.2


def run(
    config: Config,
    sockets: list[socket.socket],
    stop: Stop,
    announce: Callable[[], object],
    shared: Shared | None = None,
    reloads: Reloads | None = None,
) -> None:
    """Serves until a stop is requested.

    Args:
        config: The configuration.
        sockets: The listening sockets, which this function closes.
        stop: The request to stop.
        announce: Called when the server accepts requests.
        shared: The counters shared with other processes.
        reloads: The request to reload the configuration.

    Raises:
        PluginLoadError, PluginError: A critical plugin does not start.
    """
    timeout = config.server.shutdown_timeout
    manager = PluginManager.from_config(config)
    try:
        app = create_app(config, manager=manager)
        if shared is not None:
            app.metrics.share_by(shared)
        if all(is_loopback(listener.getsockname()[0]) for listener in sockets):
            app.serve_locally()
        server = _Server(app, stop, timeout, reloads or Reloads(config), manager, alone=shared is None)
        server.announce = announce
        if not stop.asked:
            server.run(sockets=sockets)
    finally:
        manager.close(stop.left(timeout))


class Stop:
    """A request to stop the server."""

    def __init__(self) -> None:
        self.asked = False
        self._at = 0.0

    def ask(self) -> None:
        if not self.asked:
            self.asked = True
            self._at = time.monotonic()

    def left(self, timeout: float) -> float:
        """Returns how many seconds the plugins have for their shutdown."""
        used = time.monotonic() - self._at if self.asked else 0.0
        return max(_LEFT_FOR_PLUGINS, timeout - used)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Requests a stop on the first signal, and lets the operating system end the process on the second.

        Only the main thread can set signal handlers; in any other thread this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGBREAK"):
            wanted.append(signal.SIGBREAK)

        def handle(*_: object) -> None:
            for each in wanted:
                signal.signal(each, signal.SIG_DFL)
            self.ask()

        before = {each: signal.signal(each, handle) for each in wanted}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


class _Server(uvicorn.Server):
    """uvicorn's server, except that :func:`run` and its callers handle signals, startup and plugins."""

    announce: Callable[[], object]

    def __init__(
        self, app: HttpApp, stop: Stop, timeout: float, reloads: Reloads, manager: PluginManager, *, alone: bool
    ) -> None:
        self._watch = Watch(lambda: app.config.server)
        super().__init__(
            uvicorn.Config(
                app,
                http=http_protocol(self._watch),
                # On Windows the default event loop cannot share a socket; a number above 1 selects the other one.
                workers=1 if alone else 2,
                lifespan="off",
                ws="none",
                proxy_headers=False,  # the server does not use the client's address
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        # Set here because the constructor's argument is limited to whole seconds.
        self.config.timeout_graceful_shutdown = timeout + _LAST_WORDS  # type: ignore[assignment]
        self._app = app
        self._stop = stop
        self._timeout = timeout
        self._reloads = reloads
        self._manager = manager
        self._reloading: threading.Thread | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.announce()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # called ten times a second
            self._watch.look(self.server_state.connections, asyncio.get_running_loop().time())  # type: ignore[arg-type]
        if counter % (10 * EVERY) == 0:
            self._app.metrics.share()
        if self._reloading is None or not self._reloading.is_alive():
            wish = self._reloads.take()
            if wish is not None:
                self._reloading = threading.Thread(target=self._reload, args=wish, name="backworks-reload", daemon=True)
                self._reloading.start()
        return self._stop.asked or await super().on_tick(counter)

    def _reload(self, config: Config | None) -> None:
        def load() -> tuple[Config, object]:
            changed = self._manager.reload_config(config)
            return self._app.config, changed

        attempt(self._reloads, load)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop.ask()
        handle = asyncio.get_running_loop().call_later(self._timeout, self._app.give_up)
        try:
            await super().shutdown(sockets)
        finally:
            handle.cancel()
            self._app.metrics.share()
