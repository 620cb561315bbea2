"""ASGI 3 as far as it is used here: the types of its callables, and an answer and the parts it is sent as."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

__all__ = ["JSON", "Answer", "Receive", "Scope", "Send", "encode_headers", "parts"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: The media type of an answer that says nothing else.
JSON = b"application/json"
_JSON_FIELD = (b"content-type", JSON)

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


def parts(answer: Answer | bytes, *, head: bool, close: bool = False) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Takes an answer apart: into its status, all of its header fields, and the content that is sent.

    Args:
        answer: The answer, or its bytes: JSON, or nothing.
        head: Whether HEAD was asked: the header fields are the same, the content is left out.
        close: Whether the connection ends with it, whatever the answer says.
    """
    if isinstance(answer, bytes):
        if answer and not close:  # most of the time
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


def encode_headers(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Writes header fields as ASGI has them."""
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
