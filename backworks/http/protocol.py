"""uvicorn's HTTP/1.1 for :mod:`backworks.http.server`, with a bound for what it gathers in memory.

uvicorn takes the parser of httptools where it is installed. That one gathers a request line, header fields, the
extension of a chunk and the trailer for as long as they come: 66 MiB of header fields took 480 MiB of memory. The other
parser, h11, has a bound of its own.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["MAX_GATHERED", "http_protocol"]

#: How many bytes may come without completing a head or adding to a body, before the next piece ends the connection:
#: h11's bound.
MAX_GATHERED = 1 << 16

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def http_protocol() -> type[asyncio.Protocol]:
    """Chooses the protocol class."""
    chosen = _chosen()
    if sys.platform == "win32":

        class PromptProtocol(chosen):  # type: ignore[valid-type, misc]
            """Sends small packets at once, as elsewhere: Windows' event loop does not see that its sockets are TCP."""

            def connection_made(self, transport: asyncio.Transport) -> None:
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                super().connection_made(transport)

        return PromptProtocol
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
