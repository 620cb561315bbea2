"""The types of ASGI 3, and a response with the parts in which it is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

__all__ = ["JSON", "Answer", "Receive", "Scope", "Send", "encode_headers", "parts", "respond"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: The media type of a response that sets none.
JSON = b"application/json"
_JSON_FIELD = (b"content-type", JSON)

#: Statuses whose responses have no content (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
_WITHOUT_CONTENT = frozenset((204, 205, 304))


@dataclass(slots=True)
class Answer:
    """A complete response.

    Attributes:
        status: The HTTP status.
        body: The content.
        content_type: Its media type; ``None`` omits the field.
        headers: Further header fields, names in lower case, without those that frame the message.
        close: Whether to close the connection after the response.
    """

    status: int
    body: bytes = b""
    content_type: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False


def parts(answer: Answer | bytes, *, head: bool, close: bool = False) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Returns the status of a response, all of its header fields, and the content to send.

    Args:
        answer: The response, or only its content: JSON, or nothing.
        head: Whether the method is HEAD: the header fields are the same, but no content is sent.
        close: Whether to close the connection after the response, in addition to ``Answer.close``.
    """
    if isinstance(answer, bytes):
        if answer and not close:  # the usual case
            return 200, [_JSON_FIELD, (b"content-length", b"%d" % len(answer))], b"" if head else answer
        answer = Answer(200, answer, JSON if answer else None)
    status, body = answer.status, answer.body
    headers = [*answer.headers]
    if status in _WITHOUT_CONTENT:
        body = b""
        if status == 205:
            headers.append((b"content-length", b"0"))
    else:
        if answer.content_type is not None:
            headers.append((b"content-type", answer.content_type))
        headers.append((b"content-length", b"%d" % len(body)))
    if answer.close or close:
        headers.append((b"connection", b"close"))
    return status, headers, b"" if head else body


async def respond(answer: Answer | bytes, scope: Scope, send: Send, *, close: bool = False) -> None:
    """Sends a response.

    Args:
        answer: The response.
        scope: The ASGI scope of the request.
        send: The ASGI callable.
        close: Whether to close the connection after the response.
    """
    status, headers, body = parts(answer, head=scope["method"] == "HEAD", close=close)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def encode_headers(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Encodes header fields for ASGI."""
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
