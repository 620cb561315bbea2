"""uvicorn's HTTP/1.1 for :mod:`backworks.http.server`, with a bound for what it gathers in memory.

uvicorn takes the parser of httptools where it is installed. That one gathers a request line, header fields, the
extension of a chunk and the trailer for as long as they come: 66 MiB of header fields took 480 MiB of memory. The other
parser, h11, has a bound of its own.
"""

from __future__ import annotations

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
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol

    class BoundedHttpToolsProtocol(HttpToolsProtocol):
        """Hangs up on a head or a trailer that does not end, and leaves trailers out of the header fields."""

        _in_head = False
        _gathered = 0

        def data_received(self, data: bytes) -> None:
            if self._gathered > MAX_GATHERED:
                if self._in_head:
                    self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
            self._gathered += len(data)
            super().data_received(data)

        def on_message_begin(self) -> None:
            self._in_head = True
            super().on_message_begin()

        def on_header(self, name: bytes, value: bytes) -> None:
            if self._in_head:
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._gathered = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._gathered = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._gathered = 0
            super().on_message_complete()

    return BoundedHttpToolsProtocol
