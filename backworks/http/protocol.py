"""Chooses the class that implements HTTP/1.1 for :mod:`backworks.http.server`, and adapts it to Windows.

If httptools is installed, this is :class:`backworks.http.immediate.ImmediateProtocol`. Otherwise it is
:class:`backworks.http.plain.PlainProtocol`, which runs each request in a task.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING

from backworks.config import ServerConfig
from backworks.http.watch import Watch

if TYPE_CHECKING:
    from backworks.http.connection import Connection

__all__ = ["http_protocol"]

#: How many connections each of several server processes accepts on Windows, where select() handles 512 sockets and one
#: more would stop the process.
_MAX_SELECTED = 480


def http_protocol(watch: Watch | None = None) -> type[Connection]:
    """Returns the protocol class.

    Args:
        watch: The limits of its connections; without it, the defaults.
    """
    chosen = _chosen()

    class Protocol(chosen):  # type: ignore[valid-type, misc]
        pass

    Protocol.watch = watch or Watch(ServerConfig)
    return _on_windows(Protocol) if sys.platform == "win32" else Protocol


def _on_windows(chosen: type[Connection]) -> type[Connection]:
    class WindowsProtocol(chosen):  # type: ignore[valid-type, misc]
        """Compensates for differences of the event loops on Windows."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            # The proactor does not recognise its sockets as TCP, and would delay small packets.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().connection_made(transport)
            if isinstance(self.loop, asyncio.SelectorEventLoop) and len(self.connections) > _MAX_SELECTED:
                transport.abort()

    return WindowsProtocol


def _chosen() -> type[Connection]:
    try:
        from backworks.http.immediate import ImmediateProtocol
    except ImportError:  # httptools is not installed
        from backworks.http.plain import PlainProtocol

        return PlainProtocol
    return ImmediateProtocol
