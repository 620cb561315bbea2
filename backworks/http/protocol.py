"""Chooses the class that implements HTTP/1.1 for :mod:`backworks.http.server`, and adapts it to Windows.

If httptools is installed, this is :class:`backworks.http.immediate.ImmediateProtocol`. Otherwise it is uvicorn's own
class for h11, which runs each request in a task.
"""

from __future__ import annotations

import asyncio
import socket
import sys

__all__ = ["http_protocol"]

#: How many connections each of several server processes accepts on Windows, where select() handles 512 sockets and one
#: more would stop the process.
_MAX_SELECTED = 480


def http_protocol() -> type[asyncio.Protocol]:
    """Returns the protocol class."""
    chosen = _chosen()
    if sys.platform == "win32":

        class WindowsProtocol(chosen):  # type: ignore[valid-type, misc]
            """Compensates for differences of the event loops on Windows."""

            def connection_made(self, transport: asyncio.Transport) -> None:
                # The proactor does not recognise its sockets as TCP, and would delay small packets.
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                super().connection_made(transport)
                if isinstance(self.loop, asyncio.SelectorEventLoop) and len(self.connections) > _MAX_SELECTED:
                    transport.abort()

        return WindowsProtocol
    return chosen


def _chosen() -> type[asyncio.Protocol]:
    try:
        from backworks.http.immediate import ImmediateProtocol
    except ImportError:  # httptools is not installed
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol
    return ImmediateProtocol
