"""ASGI 3 as far as it is used here: the types of its callables, and an answer sent in two messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

__all__ = ["JSON", "Answer", "Receive", "Scope", "Send", "encode_headers"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: The media type of an answer that says nothing else.
JSON = b"application/json"

#: Statuses whose answers have no content (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
_WITHOUT_CONTENT = frozenset((204, 205, 304))


@dataclass(slots=True)
class Answer:
    """A whole answer.

    Attributes:
        status: The HTTP status.
        body: The content.
        content_type: Its media type; ``None`` leaves the field out.
        headers: More header fields, names in lower case, without those that frame the message.
        close: Whether the connection ends with it.
    """

    status: int
    body: bytes = b""
    content_type: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Sends it.

        Args:
            send: The ASGI callable.
            head: Whether HEAD was asked: the header fields are the same, the content is left out.
        """
        body = self.body
        headers = [*self.headers]
        if self.status in _WITHOUT_CONTENT:
            body = b""
            if self.status == 205:
                headers.append((b"content-length", b"0"))
        else:
            if self.content_type is not None:
                headers.append((b"content-type", self.content_type))
            headers.append((b"content-length", b"%d" % len(body)))
        if self.close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else body})


def encode_headers(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Writes header fields as ASGI has them."""
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
