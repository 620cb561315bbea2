"""The data that a plugin receives for an HTTP request."""

from __future__ import annotations

import asyncio
import base64
import codecs
import json
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backworks.http import request as request_module
from backworks.http.request import (
    BadRequest,
    BodyTooLarge,
    Disconnected,
    UnsupportedMediaType,
    has_body,
    read_body,
    request_json,
    trace_context,
)
from backworks.http.writer import write_in_c, write_in_python

#: A member of a tracestate; 32 of them are almost as much as is passed on.
LONG = "a=" + "1" * 250
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def scope(*headers: tuple[str, str], query: bytes = b"") -> dict[str, Any]:
    """Creates the used part of an ASGI scope."""
    return {
        "http_version": "1.1",
        "path": "/é",
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }


def body_of(content_type: str | None, body: bytes) -> Any:
    """Sends a body and returns the data for the plugin."""
    headers = [("content-type", content_type)] if content_type else []
    return json.loads(request_json(scope(*headers), {}, "POST", body))["body"]


def test_all_of_it() -> None:
    """The JSON of a request has its method, path, parameters, query, headers and body."""
    request = scope(("host", "h"), ("x-é", "ü"), query=b"a=1&b=2&b=3&c=&b=4&d=%C3%A9+x")

    assert json.loads(request_json(request, {"who": "Zoë"}, "PATCH", b"hi")) == {
        "method": "PATCH",
        "path": "/é",
        "path_params": {"who": "Zoë"},
        "query": {"a": "1", "b": ["2", "3", "4"], "c": "", "d": "é x"},
        "headers": {"host": "h", "x-Ã©": "ü"},
        "body": "hi",
    }


def test_repeated_headers() -> None:
    """Repeated header fields are joined: cookies by a semicolon, others by a comma."""
    request = scope(("x", "1"), ("cookie", "a=1"), ("x", "2"), ("cookie", "b=2"))

    assert json.loads(request_json(request, {}, "GET", b""))["headers"] == {"x": "1, 2", "cookie": "a=1; b=2"}


def test_no_body() -> None:
    """A missing body is null, whatever its content type."""
    assert body_of("application/json", b"") is None


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "text/json", "a/b+json"])
def test_json_value(kind: str) -> None:
    """A JSON body is a value."""
    assert body_of(kind, b' {"a": [1, null]} ') == {"a": [1, None]}


def test_json_is_not_changed() -> None:
    """A JSON body is passed on byte for byte, so that digits, order and duplicate names are kept."""
    body = b'{"b": 1.10, "a": 123456789012345678901234567890, "b": 1e999}'
    data = request_json(scope(("content-type", "application/json")), {}, "PUT", body)

    assert data.endswith(b'"body":' + body + b"}")


@pytest.mark.parametrize(
    "body",
    [b"{", b"{} {}", b"NaN", b"[Infinity]", b"'a'", b'"\xff"', b"[" * 10_000 + b"]" * 10_000, b" ", b'1}, "body":{'],
)
def test_not_json(body: bytes) -> None:
    """An invalid JSON body is a bad request; so is one that nests too deep for other parsers."""
    with pytest.raises(BadRequest, match="the Content-Type is JSON, but the body is not valid JSON: .+"):
        body_of("application/json", body)


def test_json_with_a_mark() -> None:
    """A byte order mark before JSON is removed."""
    assert body_of("application/json", b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", "Zoë".encode(), "Zoë"),
        ("text/plain; charset=ISO-8859-1", "Zoë".encode("latin-1"), "Zoë"),
        ("text/plain; charset=latin1", "Zoë".encode("latin-1"), "Zoë"),
        ("text/plain; charset=ANSI_X3.4-1968", b"Zo", "Zo"),
        ("text/plain; charset=UTF8", "Zoë".encode(), "Zoë"),
        ("text/plain; charset=windows-1252", "10 €".encode("cp1252"), "10 €"),
        ("text/plain", "\ufeffZoë".encode(), "Zoë"),
        ("text/plain; charset=utf-8", "\ufeffZoë".encode(), "Zoë"),
        ("text/plain; charset=utf-16le", "\ufeffZoë".encode("utf-16-le"), "Zoë"),
        ("text/plain", "\ufeff".encode(), ""),
        ('text/plain; charset="utf-16"', "Zoë".encode("utf-16"), "Zoë"),
        (None, b"a=1", "a=1"),
        ("application/x-www-form-urlencoded", b"a=1", "a=1"),
        ("application/xml", b"<a/>", "<a/>"),
    ],
)
def test_text(kind: str | None, body: bytes, text: str) -> None:
    """Any other body is text if it decodes with its charset, or as UTF-8 without one; a byte order mark is removed."""
    assert body_of(kind, body) == text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/octet-stream", b"ascii"),
        ("image/svg+xml", b"<svg/>"),
        ("text/plain", b"\xff\xfe\xfd"),
        ("text/plain; charset=ascii", b"\xc3\xab"),
        ("application/zip; charset=binary", b"a"),
        ("image/png; charset=nonsense", b"a"),
        (None, b"\x80"),
    ],
)
def test_bytes(kind: str | None, body: bytes) -> None:
    """Binary media and bytes that do not decode are base64."""
    assert body_of(kind, body) == {"base64": base64.b64encode(body).decode()}


@pytest.mark.parametrize("name", ["idna", "hex", "zlib", "utf-7", "nonsense", "é", "x" * 60_000])
def test_unknown_charset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A charset outside the fixed table is 415, and Python, which would keep the name forever, never sees it."""
    monkeypatch.setattr(codecs, "lookup", pytest.fail)

    with pytest.raises(UnsupportedMediaType, match=r"^the charset in Content-Type must be one of us-ascii, ") as caught:
        body_of(f"text/plain; charset={name}", b"a")
    assert (caught.value.status, len(str(caught.value)) < 200) == (415, True)


@given(st.binary(), st.sampled_from([None, "text/plain", "image/png", "text/html; charset=utf-16", "application/json"]))
def test_any_body(body: bytes, kind: str | None) -> None:
    """Invariant: for any body, the plugin receives valid JSON or the client a BadRequest."""
    try:
        body_of(kind, body)
    except BadRequest:
        assert kind == "application/json"


@given(st.binary())
def test_any_query(query: bytes) -> None:
    """Invariant: for any query, the plugin receives valid JSON or the client a BadRequest."""
    try:
        found = json.loads(request_json(scope(query=query), {}, "GET", b""))["query"]
    except BadRequest:
        return
    assert all(isinstance(value, (str, list)) for value in found.values())


@given(st.text("a=&+%3é;41") | st.text())
def test_query_as_usual(query: str) -> None:
    """Invariant: the query's names and values are those that the standard library finds."""
    try:
        expected = parse_qsl(query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        with pytest.raises(BadRequest, match="query"):
            request_json(scope(query=query.encode()), {}, "GET", b"")
        return
    found = json.loads(request_json(scope(query=query.encode()), {}, "GET", b""))["query"]
    values: dict[str, list[str]] = {}
    for name, value in expected:
        values.setdefault(name, []).append(value)

    assert found == {name: value if len(value) > 1 else value[0] for name, value in values.items()}


def test_query_not_utf8() -> None:
    """A query that is not UTF-8 is a bad request."""
    with pytest.raises(BadRequest, match="query"):
        request_json(scope(query=b"a=%ff"), {}, "GET", b"")


class Body:
    """A server's receive callable that counts its calls."""

    def __init__(self, *chunks: bytes, ends: bool = True) -> None:
        self.asked = 0
        self._chunks = chunks
        self._ends = ends

    async def __call__(self) -> MutableMapping[str, Any]:
        self.asked += 1
        if self.asked > len(self._chunks):
            return {"type": "http.disconnect"}
        more = not self._ends or self.asked < len(self._chunks)
        return {"type": "http.request", "body": self._chunks[self.asked - 1], "more_body": more}


CHUNKED = ("transfer-encoding", "chunked")


class TestReadBody:
    """Reading a body up to its limit."""

    def read(self, body: Body, *headers: tuple[str, str], version: str = "1.1") -> bytes:
        """Reads a body as an endpoint does."""
        if not has_body(dict(scope(*headers)["headers"]), version, 10):
            return b""
        return asyncio.run(read_body(body, 10))

    def test_whole(self) -> None:
        """A body of exactly the maximum size is read, in one piece or several."""
        assert self.read(Body(b"0123456789"), ("content-length", "10")) == b"0123456789"
        assert self.read(Body(b"01234", b"", b"56789", b""), CHUNKED) == b"0123456789"

    def test_none(self) -> None:
        """Without a header that announces a body, nothing is read."""
        body = Body(b"never")

        assert self.read(body) == b""
        assert self.read(body, ("content-length", "0")) == b""
        assert body.asked == 0

    def test_other_versions(self) -> None:
        """HTTP/2 requires no header for a body, so the body is read."""
        assert self.read(Body(b"abc"), version="2") == b"abc"

    @pytest.mark.parametrize("length", ["11", "99999999999999999999999999"])
    def test_announced_too_large(self, length: str) -> None:
        """Nothing is read of a body whose announced size is too large."""
        body = Body(b"0" * 11)

        with pytest.raises(BodyTooLarge):
            self.read(body, ("content-length", length))
        assert body.asked == 0

    def test_turns_out_too_large(self) -> None:
        """A body that turns out to be too large is not read to its end."""
        body = Body(*[b"0" * 6] * 100)

        with pytest.raises(BodyTooLarge):
            self.read(body, CHUNKED)
        assert body.asked == 2

    def test_client_goes(self) -> None:
        """A client that disconnects before the end of its body raises Disconnected."""
        with pytest.raises(Disconnected):
            self.read(Body(b"0", ends=False), CHUNKED)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("traceparent", PARENT)], (PARENT, None)),
        ([("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")], (PARENT, "a=1,b=2")),
        ([("tracestate", "a=1")], (None, None)),
        ([("traceparent", PARENT), ("traceparent", PARENT)], (None, None)),
        ([("traceparent", PARENT.replace("b7ad6b7169203331", "0" * 16)), ("tracestate", "a=1")], (None, None)),
        ([("traceparent", "ff" + PARENT[2:])], (None, None)),
        ([("traceparent", PARENT.upper())], (None, None)),
        ([("traceparent", "cc" + PARENT[2:] + "-what-comes")], ("cc" + PARENT[2:] + "-what-comes", None)),
        ([("traceparent", "cc" + PARENT[2:] + "-" + "a" * 66_000)], (None, None)),
        ([("traceparent", "cc" + PARENT[2:] + "-ü")], (None, None)),
        ([("traceparent", PARENT + "-more")], (None, None)),
        ([("traceparent", PARENT + " ")], (None, None)),
        ([("traceparent", PARENT), ("tracestate", "a=1, b@c=2,,d=3 \t")], (PARENT, "a=1, b@c=2,,d=3 \t")),
        ([("traceparent", PARENT), ("tracestate", "a=" + "1" * 66_000)], (PARENT, None)),
        ([("traceparent", PARENT), ("tracestate", "a=1," * 16_500)], (PARENT, None)),
        (
            [("traceparent", PARENT), *[("tracestate", "a=" + "1" * 250)] * 32],
            (PARENT, ",".join(["a=" + "1" * 250] * 32)),
        ),
        ([("traceparent", PARENT), *[("tracestate", "a=1")] * 33], (PARENT, None)),
        ([("traceparent", PARENT), *[("tracestate", LONG + "1" * 6)] * 32], (PARENT, None)),
        ([("traceparent", PARENT), ("tracestate", "nothing")], (PARENT, None)),
        ([("traceparent", PARENT), ("tracestate", "a=ü")], (PARENT, None)),
        ([("traceparent", PARENT), ("tracestate", "")], (PARENT, None)),
        ([], (None, None)),
    ],
)
def test_trace_context(headers: list[tuple[str, str]], expected: tuple[str | None, str | None]) -> None:
    """A valid trace context is passed on; what is invalid or too long is discarded, and a parent with its state."""
    assert trace_context(scope(*headers)) == expected


FIELDS = st.lists(
    st.tuples(st.sampled_from([b"cookie", b"accept", b"", b'"\\']) | st.binary(max_size=9), st.binary(max_size=40)),
    max_size=80,
)


class TestWriters:
    """The C and the Python function write the same JSON."""

    @given(st.text(), st.text(), st.dictionaries(st.text(), st.text()), st.binary(), FIELDS, st.binary(max_size=5000))
    def test_same(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        query: bytes,
        fields: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> None:
        """Both write the same bytes; more header fields than C compares with each other are left to Python."""
        arguments = (method, path, params, query, fields, body)
        expected = write_in_python(*arguments) if len(fields) <= 64 else None

        assert write_in_c(*arguments) == expected

    @pytest.mark.parametrize("fields", [(), [[b"a", b"b"]], [(b"a", b"b", b"c")], [(b"a", "b")], [b"ab"], [None]])
    def test_other_forms(self, fields: Any) -> None:
        """Header fields in an unusual form are left to Python."""
        assert write_in_c("", "", {}, b"", fields, b"") is None

    @pytest.mark.parametrize(("at", "wrong"), [(0, b"GET"), (1, None), (2, []), (3, "{}"), (5, bytearray(1))])
    def test_wrong_types(self, at: int, wrong: object) -> None:
        """Arguments of invalid types are an error, not a crash."""
        arguments: list[Any] = ["GET", "/", {}, b"{}", [], b"null"]
        arguments[at] = wrong

        with pytest.raises(TypeError, match=r"write_request\(\) takes"):
            write_in_c(*arguments)

    def test_surrogates(self) -> None:
        """Text that cannot be encoded as UTF-8 is an error of both."""
        for write in (write_in_c, write_in_python):
            with pytest.raises(ValueError, match="surrogates"):
                write("GET", "\ud800", {}, b"{}", [], b"null")

    def test_without_c(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the extension, or if it declines, Python writes the JSON."""
        request = scope(("d", "e"), query=b"f=g")
        expected = (
            '{"method":"GET","path":"/é","path_params":{"b":"c"},"query":{"f":"g"},"headers":{"d":"e"},"body":"h"}'
        )

        assert request_json(request, {"b": "c"}, "GET", b"h").decode() == expected
        monkeypatch.setattr(request_module, "write_in_c", lambda *_: None)
        assert request_json(request, {"b": "c"}, "GET", b"h").decode() == expected
