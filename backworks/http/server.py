"""``backworks serve``: the application under uvicorn, from the first socket to the last plugin's shutdown.

The order of a start: the configuration, the sockets, the plugins, the event loop. Each fails with its own exception
before the next has begun, and a port in use costs no plugin's start.

The order of an end, after Ctrl-C or SIGTERM: no new connections; those that wait are closed; running requests have
``server.shutdown_timeout`` to end and are then answered with 503; the plugins are shut down in what is left of that
time, and have half a second at least. A second signal ends the process at once.

SIGHUP loads the configuration anew while requests are answered; see :meth:`backworks.PluginManager.reload_config`.

With ``server.workers`` above 1 this happens in as many processes, which share the sockets; see
:mod:`backworks.http.workers`.
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

#: From here on an error number is one of Windows' network.
_WINSOCK = 10000
#: Who waits for the line may read it through a pipe.
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
        config: The path of a configuration, the mapping that a file would hold, or a
            :class:`backworks.config.Config`.
        host, port: Where to listen instead of where the configuration says; port 0 takes a free one.
        workers: In how many processes, instead of what the configuration says. With more than one the calling program
            needs the ``if __name__ == "__main__":`` that :mod:`multiprocessing` asks for.
        reload: Whether to load the configuration anew whenever its file, or a library that it names, has changed.
        follow: What asks for reloads while it is entered, instead of ``reload``.
        announce: Is given one line as soon as the server listens.
        prepare: A function of a module, called first in each process that is started, for instance to set up logging.

    Raises:
        ConfigError: The configuration is wrong.
        ListenError: It cannot listen there.
        PluginLoadError, PluginError: A critical plugin does not start.
        WorkerError: One of several processes ended before it served.
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
        number = failures[0].errno
        # Windows gives an error of the network, unless C has a number for it, the system's.
        reason = (system_words if number >= _WINSOCK else os.strerror)(number) if number else str(failures[0])
        raise ListenError(
            f"cannot listen at {where}: {reason[0].lower()}{reason[1:]}; "
            "stop what listens there, or choose another server.host or server.port (--host, --port)"
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
