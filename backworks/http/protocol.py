"""uvicorn's HTTP/1.1 for :mod:`backworks.http.server`, with a bound for what it gathers in memory.

uvicorn takes the parser of httptools where it is installed. That one gathers a request line, header fields, the
extension of a chunk and the trailer for as long as they come: 66 MiB of header fields took 480 MiB of memory. The other
parser, h11, has a bound of its own.
"""

from __future__ import annotations

import asyncio
import socket
import sys

__all__ = ["MAX_GATHERED", "http_protocol"]

#: How many bytes may come without completing a head or adding to a body, before the next piece ends the connection:
#: h11's bound.
MAX_GATHERED = 1 << 16

#: How many connections a process of several keeps on Windows, where select() takes 512 sockets, and where one too many
#: would stop the process.
_MAX_SELECTED = 480

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


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
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol

    class BoundedHttpToolsProtocol(HttpToolsProtocol):
        """Hangs up on a head or a trailer that does not end, and leaves trailers out of the header fields.

        Few methods are overridden, and without ``super()``: what stands here is paid for by every request.
        """

        _gathered = 0

        def data_received(self, data: bytes) -> None:
            if self._gathered > MAX_GATHERED:
                in_head = self.scope is not None and self.headers is self.scope["headers"]  # type: ignore[redundant-expr]
                if in_head:
                    self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
            self._gathered += len(data)
            HttpToolsProtocol.data_received(self, data)

        def on_headers_complete(self) -> None:
            self._gathered = 0
            HttpToolsProtocol.on_headers_complete(self)
            # The request keeps the list it has; what a trailer adds goes here.
            self.headers = []

        def on_body(self, body: bytes) -> None:
            self._gathered = 0
            HttpToolsProtocol.on_body(self, body)

    return BoundedHttpToolsProtocol
