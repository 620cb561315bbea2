"""One process that serves: plugins, application and uvicorn, from the first plugin's start to the last one's end."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from backworks.http.app import HttpApp, create_app
from backworks.http.protocol import http_protocol
from backworks.http.reloads import Reloads, attempt
from backworks.http.sharing import EVERY
from backworks.manager import PluginManager

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from backworks.config import Config
    from backworks.http.sharing import Shared

__all__ = ["Stop", "run"]

#: Seconds that the plugins have for their shutdown if the requests have used up the time.
_LEFT_FOR_PLUGINS = 0.5
#: Seconds within which a request that was given up is answered and its connection closed.
_LAST_WORDS = 0.2


def run(
    config: Config,
    sockets: list[socket.socket],
    stop: Stop,
    announce: Callable[[], object],
    shared: Shared | None = None,
    reloads: Reloads | None = None,
) -> None:
    """Serves until it is asked to stop.

    Args:
        config: The configuration.
        sockets: Where to listen; they are closed.
        stop: The wish that it ends.
        announce: Called as soon as it takes requests.
        shared: What it shares with other processes.
        reloads: The wish that the configuration is loaded anew.

    Raises:
        PluginLoadError, PluginError: A critical plugin does not start.
    """
    timeout = config.server.shutdown_timeout
    manager = PluginManager.from_config(config)
    try:
        app = create_app(config, manager=manager)
        if shared is not None:
            app.metrics.share_by(shared)
        server = _Server(app, stop, timeout, reloads or Reloads(config), manager, alone=shared is None)
        server.announce = announce
        if not stop.asked:
            server.run(sockets=sockets)
    finally:
        manager.close(stop.left(timeout))


class Stop:
    """The wish that the server ends."""

    def __init__(self) -> None:
        self.asked = False
        self._at = 0.0

    def ask(self) -> None:
        if not self.asked:
            self.asked = True
            self._at = time.monotonic()

    def left(self, timeout: float) -> float:
        """Seconds that the plugins have for their shutdown."""
        used = time.monotonic() - self._at if self.asked else 0.0
        return max(_LEFT_FOR_PLUGINS, timeout - used)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Lets the first signal ask, and leaves the second to the operating system, which ends the process.

        Only the main thread may say what signals do; in another, the program around decides.
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
    """uvicorn, with signals, start-up and plugins left to :func:`run` and its callers."""

    announce: Callable[[], object]

    def __init__(
        self, app: HttpApp, stop: Stop, timeout: float, reloads: Reloads, manager: PluginManager, *, alone: bool
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http_protocol(),
                # On Windows the usual event loop cannot listen where another process does: above 1 it is the other one.
                workers=1 if alone else 2,
                lifespan="off",
                ws="none",
                proxy_headers=False,  # nothing here asks who the client is
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        # Set here because the argument above takes whole seconds only.
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
        if counter % (10 * EVERY) == 0:  # it comes ten times a second
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
