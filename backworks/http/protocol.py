"""uvicorn's HTTP/1.1 for :mod:`backworks.http.server`: which class speaks it, and what Windows needs of it.

Where httptools is installed, that is :class:`backworks.http.immediate.ImmediateProtocol`. Else it is uvicorn's own
class for h11: each request in a task.
"""

from __future__ import annotations

import asyncio
import socket
import sys

__all__ = ["http_protocol"]

#: How many connections a process of several keeps on Windows, where select() takes 512 sockets, and where one too many
#: would stop the process.
_MAX_SELECTED = 480


def http_protocol() -> type[asyncio.Protocol]:
    """Chooses the protocol class."""
    chosen = _chosen()
    if sys.platform == "win32":

        class WindowsProtocol(chosen):  # type: ignore[valid-type, misc]
            """Makes up for what the event loops of Windows do otherwise."""

            def connection_made(self, transport: asyncio.Transport) -> None:
                # The proactor does not see that its sockets are TCP, and would hold back small packets.
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                super().connection_made(transport)
                if isinstance(self.loop, asyncio.SelectorEventLoop) and len(self.connections) > _MAX_SELECTED:
                    transport.abort()

        return WindowsProtocol
    return chosen


def _chosen() -> type[asyncio.Protocol]:
    try:
        from backworks.http.immediate import ImmediateProtocol
    except ImportError:  # there is no httptools
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol
    return ImmediateProtocol
