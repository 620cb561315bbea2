"""``backworks serve``: the application under uvicorn, from the first socket to the last plugin's shutdown.

The order of a start: the configuration, the sockets, the plugins, the event loop. Each fails with its own exception
before the next has begun, and a port in use costs no plugin's start.

The order of an end, after Ctrl-C or SIGTERM: no new connections; those that wait are closed; running requests have
``server.shutdown_timeout`` to end and are then answered with 503; the plugins are shut down in what is left of that
time, and have half a second at least. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from backworks.errors import ListenError
from backworks.http.app import HttpApp, create_app
from backworks.http.protocol import http_protocol
from backworks.manager import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from backworks.config import Config

__all__ = ["serve"]

#: Seconds that the plugins have for their shutdown if the requests have used up the time.
_LEFT_FOR_PLUGINS = 0.5
#: Seconds within which a request that was given up is answered and its connection closed.
_LAST_WORDS = 0.2


#: Who waits for the line may read it through a pipe.
_print = partial(print, flush=True)


def serve(
    config: str | Path | Mapping[str, Any] | Config,
    host: str | None = None,
    port: int | None = None,
    *,
    announce: Callable[[str], None] = _print,
) -> None:
    """Serves a configuration until Ctrl-C or SIGTERM.

    Args:
        config: The path of a configuration, the mapping that a file would hold, or a
            :class:`backworks.config.Config`.
        host, port: Where to listen instead of where the configuration says; port 0 takes a free one.
        announce: Is given one line as soon as the server listens.

    Raises:
        ConfigError: The configuration is wrong.
        ListenError: It cannot listen there.
        PluginLoadError, PluginError: A critical plugin does not start.
    """
    from backworks.config import as_config

    config = as_config(config)
    settings = config.server
    stop = _Stop()
    with ExitStack() as stack:
        sockets = _listen(host or settings.host, settings.port if port is None else port)
        for listener in sockets:
            stack.callback(listener.close)
        stack.enter_context(stop.signals())
        manager = PluginManager.from_config(config)
        stack.callback(lambda: manager.close(stop.left(settings.shutdown_timeout)))
        server = _Server(create_app(config, manager=manager), stop, settings.shutdown_timeout)
        server.announcement = lambda: announce(_announcement(config, sockets))
        if not stop.asked:
            server.run(sockets=sockets)


class _Stop:
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
    """uvicorn, with signals, start-up and plugins left to :func:`serve`."""

    announcement: Callable[[], None]

    def __init__(self, app: HttpApp, stop: _Stop, timeout: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http_protocol(),
                lifespan="off",
                ws="none",
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

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.announcement()

    async def on_tick(self, counter: int) -> bool:
        return self._stop.asked or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop.ask()
        handle = asyncio.get_running_loop().call_later(self._timeout, self._app.give_up)
        try:
            await super().shutdown(sockets)
        finally:
            handle.cancel()


def _listen(host: str, port: int) -> list[socket.socket]:
    """Opens a socket for every address of a host: ``localhost`` usually has two."""
    where = f"{_in_url(host)}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(
            f"cannot listen at {where}: {error.strerror or error}; give an address of this machine as server.host"
        ) from error
    sockets: list[socket.socket] = []
    failures: list[OSError] = []
    for family, _, _, _, address in dict.fromkeys(found):
        taken = sockets[0].getsockname()[1] if sockets else port
        try:
            listener = socket.create_server((address[0], taken, *address[2:]), family=family, backlog=2048)
        except OSError as error:
            failures.append(error)
        else:
            # asyncio turns off the delay of small packets (40 ms on Linux) only where it reads that this is TCP.
            tcp = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())
            sockets.append(tcp)
    if not sockets:
        reason = os.strerror(failures[0].errno) if failures[0].errno else str(failures[0])
        raise ListenError(
            f"cannot listen at {where}: {reason[0].lower()}{reason[1:]}; "
            "stop what listens there, or choose another server.host or server.port (--host, --port)"
        ) from failures[0]
    return sockets


def _announcement(config: Config, sockets: Sequence[socket.socket]) -> str:
    places = " and ".join(f"http://{_in_url(one.getsockname()[0])}:{one.getsockname()[1]}" for one in sockets)
    count = len(config.endpoints)
    return f"Serving {count} endpoint{'' if count == 1 else 's'} on {places} (Ctrl-C stops; /docs to try them)"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
