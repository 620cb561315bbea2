"""``backworks serve``: runs the application under uvicorn.

Startup, in this order: the configuration, the sockets, the plugins, the event loop. Each step raises its own exception
before the next begins, so a port in use does not start any plugin.

Shutdown, after Ctrl-C or SIGTERM: the server accepts no new connections and closes idle ones. Requests in flight have
``server.shutdown_timeout`` to complete; after that they are answered with 503. The plugins are shut down in the rest of
that time, but have at least half a second. A second signal ends the process at once.

SIGHUP reloads the configuration without interrupting requests; see :meth:`backworks.PluginManager.reload_config`.

With ``server.workers`` above 1, that many processes do this and share the sockets; see :mod:`backworks.http.workers`.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from backworks.errors import ListenError
from backworks.http.reloads import Reloads, watching
from backworks.http.running import Stop, run
from backworks.http.workers import supervise
from backworks.system import system_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from backworks.config import Config

__all__ = ["serve"]

#: The first error number of Windows Sockets.
_WINSOCK = 10000
#: Flushes, because the reader of the line may be at the end of a pipe.
_print = partial(print, flush=True)


def serve(
    config: str | Path | Mapping[str, Any] | Config,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    *,
    reload: bool = False,
    follow: Callable[[Reloads], AbstractContextManager[None]] | None = None,
    announce: Callable[[str], None] = _print,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Serves a configuration until Ctrl-C or SIGTERM.

    Args:
        config: The path of a configuration, a mapping with the content of a file, or a
            :class:`backworks.config.Config`.
        host, port: The address to listen on, instead of the configured one; port 0 selects a free port.
        workers: The number of processes, instead of the configured one. With more than one, the calling program needs
            the ``if __name__ == "__main__":`` that :mod:`multiprocessing` requires.
        reload: Whether to reload the configuration whenever its file or one of its libraries changes.
        follow: A context manager that requests reloads while it is active, instead of ``reload``.
        announce: Called with one line when the server accepts requests.
        prepare: A function of a module, called first in each new process, for example to set up logging.

    Raises:
        ConfigError: The configuration is not valid.
        ListenError: The server cannot listen on the address.
        PluginLoadError, PluginError: A critical plugin does not start.
        WorkerError: One of several processes ended before it accepted requests.
    """
    from backworks.config import as_config

    config = as_config(config)
    settings = config.server
    count = workers or settings.workers
    stop = Stop()
    with ExitStack() as stack:
        sockets = _listen(host or settings.host, settings.port if port is None else port)
        for listener in sockets:
            stack.callback(listener.close)
        stack.enter_context(stop.signals())
        reloads = Reloads(config)
        stack.enter_context(reloads.signals())
        if reload or follow:
            stack.enter_context((follow or watching)(reloads))
        started = partial(announce, _announcement(config, sockets, count))
        if count == 1:
            run(config, sockets, stop, started, reloads=reloads)
        else:
            supervise(config, sockets, count, stop, started, prepare, reloads)


def _listen(host: str, port: int) -> list[socket.socket]:
    """Opens a socket for each address of a host; ``localhost`` usually has two."""
    where = f"{_in_url(host)}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {where}: {error.strerror or error}; set server.host to an address of this machine"
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
            # asyncio only turns off the delay of small packets (40 ms on Linux) if the socket's protocol is set to TCP.
            tcp = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())
            sockets.append(tcp)
    if not sockets:
        number = failures[0].errno
        # On Windows the number is a Windows Sockets error, or one of C if there is an equivalent.
        reason = (system_words if number >= _WINSOCK else os.strerror)(number) if number else str(failures[0])
        raise ListenError(
            f"cannot listen on {where}: {reason[0].lower()}{reason[1:]}; "
            "stop the other server, or choose another server.host or server.port (--host, --port)"
        ) from failures[0]
    return sockets


def _announcement(config: Config, sockets: Sequence[socket.socket], workers: int) -> str:
    places = " and ".join(f"http://{_in_url(one.getsockname()[0])}:{one.getsockname()[1]}" for one in sockets)
    count = len(config.endpoints)
    processes = f" in {workers} processes" if workers > 1 else ""
    return (
        f"Serving {count} endpoint{'' if count == 1 else 's'} on {places}{processes} (Ctrl-C stops; /docs to try them)"
    )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
