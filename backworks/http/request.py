"""Creates the data that a plugin receives for an HTTP request: its body, or the request as JSON.

The JSON has ``method``, ``path``, ``path_params``, ``query``, ``headers`` and ``body``:

- ``query`` maps a name to a string, or to a list of strings if the name occurs more than once;
- ``headers`` has names in lower case; repeated fields are joined by ``", "``, cookies by ``"; "``;
- ``body`` is ``null`` if there is none; the value itself if the media type is JSON; a string if it is text, which is
  everything else that decodes (with the given ``charset``, or as UTF-8) and is not an image, audio, video, a font or
  ``application/octet-stream``; and ``{"base64": "..."}`` for all other bytes. A byte order mark is not content.

Nothing here keeps what a client sends: ``codecs.lookup``, for example, would cache every unknown charset forever.

A JSON body is checked, then copied byte for byte: numbers keep every digit, objects their order and duplicate names.
"""

from __future__ import annotations

import base64
import codecs
import encodings.aliases
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from pydantic_core import from_json, to_json

from backworks.http.writer import write_in_c, write_in_python

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backworks.http.asgi import Receive, Scope

__all__ = [
    "BadRequest",
    "BodyTooLarge",
    "Disconnected",
    "UnsupportedMediaType",
    "has_body",
    "read_body",
    "request_json",
    "trace_context",
]

_BINARY = re.compile(r"(image|audio|video|font)/|application/octet-stream$")
_JSON = re.compile(r"(application|text)/json$|.+/.+\+json$")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)
#: The charsets that a client may state, with all of Python's names for them. Python has many more; some of them decode
#: in quadratic time, and clients need none of them.
_CHARSETS = {
    "ascii": "us-ascii",
    "cp1252": "windows-1252",
    "latin-1": "iso-8859-1",
    "iso8859-15": "iso-8859-15",
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "utf-16-be": "utf-16be",
    "utf-16-le": "utf-16le",
}
#: Python's codec for each name of a charset: lower case, with hyphens.
_CODECS = {
    name.replace("_", "-"): codec
    for codec, usual in _CHARSETS.items()
    for name in (
        codec,
        usual,
        *(alias for alias, known in encodings.aliases.aliases.items() if known == codec.replace("-", "_")),
    )
} | {"utf-8-sig": "utf-8"}
#: What ``file --mime`` states for bytes that are not text.
_NO_TEXT = "binary"

#: https://www.w3.org/TR/trace-context/: version, trace, parent, flags; a later version than 00 may append more, which
#: has a limit here.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:(?<!00.{53})-[\x21-\x7e]{0,200})?"
)
#: One member of a tracestate, with the white space around it; an empty member is allowed.
_MEMBER = re.compile(
    rb"[ \t]*(?:[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])?[ \t]*"
)
#: How many members a tracestate may have.
_MEMBERS = 32
#: How many bytes a tracestate may have; W3C requires that 512 are passed on.
_STATE = 8192


class BadRequest(ValueError):
    """The request is not valid; the message is for the client.

    Attributes:
        status: The HTTP status.
    """

    status = 400


class UnsupportedMediaType(BadRequest):
    """The body is in a form that the server cannot read."""

    status = 415


class BodyTooLarge(Exception):
    """The body exceeds the maximum size."""


class Disconnected(Exception):
    """The client has disconnected."""


def has_body(fields: Mapping[bytes, bytes], version: str | None, limit: int) -> bool:
    """Returns whether there may be a body to read.

    Args:
        fields: The header fields; of a repeated field the last value.
        version: The version of HTTP, in ASGI's form.
        limit: The maximum size of a body, in bytes.

    Raises:
        BodyTooLarge: Content-Length exceeds the limit, so that the body need not be read.
    """
    length = fields.get(b"content-length")
    if length is not None and length != b"0":
        # The server has validated the value; if it has not, read_body() still counts the bytes.
        if length.isdigit() and int(length[:20]) > limit:
            raise BodyTooLarge
        return True
    # HTTP/2 and later require neither field.
    return b"transfer-encoding" in fields or version not in ("1.0", "1.1")


async def read_body(receive: Receive, limit: int) -> bytes:
    """Reads the body, up to a limit.

    Args:
        receive: The ASGI callable.
        limit: The maximum size of the body, in bytes.

    Raises:
        BodyTooLarge: The body is larger.
        Disconnected: The client disconnected before the end of the body.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        if chunk:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def request_json(scope: Scope, path_params: Mapping[str, str], method: str, body: bytes) -> bytes:
    """Returns a request as JSON.

    Args:
        scope: The ASGI scope.
        path_params: The values of the route's parameters.
        method: The method to pass to the plugin.
        body: The body.

    Raises:
        BadRequest: The media type is JSON but the body is not valid JSON, or the query is not UTF-8.
        UnsupportedMediaType: The charset is unknown.
    """
    path, root, query = scope["path"], scope.get("root_path"), scope["query_string"]
    arguments = (
        method,
        path.removeprefix(root) if root else path,
        path_params,
        to_json(_query(query)) if query else b"{}",
        scope["headers"],
        _body(body, _content_type(scope)) if body else b"null",
    )
    return write_in_c(*arguments) or write_in_python(*arguments)


def _content_type(scope: Scope) -> str:
    fields: dict[bytes, bytes] = dict(scope["headers"])
    return fields.get(b"content-type", b"").decode("latin-1")


def _media_type(content_type: str) -> str:
    """Returns the media type of a Content-Type, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def trace_context(scope: Scope) -> tuple[str | None, str | None]:
    """Returns ``traceparent`` and ``tracestate``.

    W3C requires that an invalid parent discards the state as well, and that an invalid or oversized state is discarded.
    """
    parent: bytes | None = None
    states: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"traceparent":
            parent = value if parent is None else b""  # a repeated field is not valid
        elif name == b"tracestate":
            states.append(value)
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return None, None
    return parent.decode("ascii"), _state(b",".join(states))


def _state(state: bytes) -> str | None:
    if not state or len(state) > _STATE:
        return None
    members = state.split(b",")
    if len(members) > _MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return None
    return state.decode("ascii")


def _query(query: bytes) -> dict[str, str | list[str]]:
    values: dict[str, str | list[str]] = {}
    try:
        # Like urllib's parse_qsl, but decodes only what is encoded, which is faster.
        for pair in query.decode().split("&"):
            if not pair:
                continue
            name, _, value = pair.partition("=")
            if "%" in pair or "+" in pair:
                name, value = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
            before = values.get(name)
            if before is None:
                values[name] = value
            elif isinstance(before, list):
                before.append(value)
            else:
                values[name] = [before, value]
    except UnicodeDecodeError:
        raise BadRequest("the query must be percent-encoded UTF-8") from None
    return values


def _body(body: bytes, content_type: str) -> bytes:
    kind = _media_type(content_type)
    if _JSON.fullmatch(kind):
        body = body.removeprefix(codecs.BOM_UTF8)
        try:
            from_json(body, allow_inf_nan=False, cache_strings="none")
        except ValueError as error:
            raise BadRequest(f"the Content-Type is JSON, but the body is not valid JSON: {error}") from None
        return body
    text = None if _BINARY.match(kind) else _decode(body, content_type)
    return b'{"base64":"%b"}' % base64.b64encode(body) if text is None else to_json(text)


def _decode(body: bytes, content_type: str) -> str | None:
    stated = _CHARSET.search(content_type)
    name = stated[1].lower().replace("_", "-") if stated else "utf-8"
    if name == _NO_TEXT:
        return None
    codec = _CODECS.get(name)
    if codec is None:
        raise UnsupportedMediaType(f"the charset in Content-Type must be one of {', '.join(_CHARSETS.values())}")
    try:
        return body.decode(codec).removeprefix("\ufeff")  # a byte order mark
    except UnicodeDecodeError:
        return None
