"""The requests that are sent to a plugin: plain ones, and any number of unusual ones from a seed."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PLAIN", "Request", "odd_requests", "odd_texts", "parse", "quoted"]

_SHOWN = 48


def quoted(data: bytes) -> str:
    """Returns bytes in readable form: in full if short, otherwise their number and the first of them."""
    if len(data) <= _SHOWN:
        return repr(data)[1:].join(("b", "")) if data else "no bytes"
    return f"{len(data):,} bytes {data[:_SHOWN]!r}..."


class Request(NamedTuple):
    """The arguments of ``process_endpoint_data``."""

    method: bytes
    endpoint: bytes
    data: bytes

    def __str__(self) -> str:
        method, endpoint = (
            text.decode()
            if text and text.decode("ascii", "replace").isprintable() and len(text) <= _SHOWN
            else quoted(text)
            for text in (self.method, self.endpoint)
        )
        return f"process({method} {endpoint}, data {quoted(self.data)})"


def _http(method: str, path: str, body: object) -> bytes:
    members = {"method": method, "path": path, "path_params": {}, "query": {}, "headers": {}, "body": body}
    return json.dumps(members).encode()


#: The requests that every plugin receives; "not mine" is a fine answer to them.
PLAIN = (
    Request(b"GET", b"/", b""),
    Request(b"GET", b"/", b"{}"),
    Request(b"POST", b"/", b'{"a": [1, "two", null]}'),
    Request(b"POST", b"/", b"plain text"),
    Request(b"GET", b"/", _http("GET", "/", None)),
    Request(b"POST", b"/", _http("POST", "/", {"a": 1})),
)


def parse(text: str) -> Request:
    """Reads ``METHOD ENDPOINT [DATA]``.

    Raises:
        ValueError: The text has another form.
    """
    method, _, rest = text.partition(" ")
    endpoint, _, data = rest.partition(" ")
    if not method.isalpha() or not endpoint:
        raise ValueError(f"the call must be METHOD ENDPOINT [DATA], such as 'GET /api/weather/KJFK', not {text!r}")
    return Request(method.upper().encode(), endpoint.encode(), data.encode("utf-8", "surrogateescape"))


_PIECES = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"\\ud800", b"null", b"true", b"-", b"0", b"1e999", b".",
    b"\0", b"\n", b"\r\n", b"\t", b" ", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf",
    b"%s%n", b"../", b"'", b"<", b"&", b"18446744073709551616", b"-9223372036854775809",
)  # fmt: skip


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 2, 3, 7, 8, 64, 255, 256, 1000, 4096)))


def _scraps(chance: random.Random) -> bytes:
    return b"".join(chance.choices(_PIECES, k=chance.randrange(1, 40)))


def _deep(chance: random.Random) -> bytes:
    opening = chance.choice((b"[", b'{"a":', b"(", b"<a>"))
    return opening * chance.choice((10, 1000, 20_000))


def _changed(chance: random.Random, known: bytes) -> bytes:
    """Returns known data with some bytes inserted, removed, changed, repeated or cut off."""
    data = bytearray(known)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at:at] = chance.choice(_PIECES)
            case 1:
                del data[at : at + chance.randrange(1, 9)]
            case 2:
                data[at : at + 1] = chance.randbytes(1)
            case _:
                data = data[:at] * chance.choice((1, 1, 2, 50))
    return bytes(data)


def odd_requests(seed: int, count: int, known: tuple[Request, ...]) -> list[Request]:
    """Returns known requests with unexpected data, always the same for a seed."""
    chance = random.Random(seed)  # noqa: S311  # must be repeatable, not secure
    makers: tuple[Callable[[random.Random], bytes], ...] = (_noise, _scraps, _deep)
    found = []
    for _ in range(count):
        request = chance.choice(known)
        maker = chance.choice((*makers, None, None, None))
        data = _changed(chance, request.data) if maker is None else maker(chance)
        found.append(request._replace(data=data))
    return found


def odd_texts(seed: int, known: tuple[Request, ...]) -> list[Request]:
    """Returns requests whose endpoint or method is valid UTF-8, but unexpected."""
    chance = random.Random(seed)  # noqa: S311  # as above
    letters = "/{}?%&=. \0\t\n\"'\\aZ0~ä€😀\u202e"
    texts = ["", "\0", "/\0/", "/" * 5000, "é" * 3000, "/%00%ff/../..", "/no/such/endpoint", "x" * (1 << 20)]
    texts += ["".join(chance.choices(letters, k=chance.randrange(1, 40))) for _ in range(40)]
    found = []
    for text in texts:
        request = chance.choice(known)
        found += [request._replace(endpoint=text.encode()), request._replace(method=text.encode())]
    return found
