"""The hosts for which a server answers, and the sites from which it takes requests."""

from __future__ import annotations

import pytest

from backworks.http.hosts import Hosts, is_loopback

LOCAL = Hosts((), local=True)
PUBLIC = Hosts(("example.com", "*.Example.org"), local=False)
ANY = Hosts(("*",), local=False)


def status(hosts: Hosts, method: str = "GET", **fields: str) -> int:
    """Returns the status of a refusal, or 200."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    refusal = hosts.refusal(method, headers)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [
        (LOCAL, "localhost", 200),
        (LOCAL, "LOCALHOST.:8080", 200),
        (LOCAL, "app.localhost:1", 200),
        (LOCAL, "127.0.0.1:8080", 200),
        (LOCAL, "[::1]:8080", 200),
        (LOCAL, "10.1.2.3", 200),
        (LOCAL, "evil.example", 421),
        (LOCAL, "evil-localhost", 421),
        (LOCAL, "localhost.evil.example", 421),
        (LOCAL, "localhost@evil.example", 421),
        (LOCAL, "127.0.0.1.nip.io", 421),
        (LOCAL, "2130706433", 421),
        (LOCAL, "", 421),
        (LOCAL, "ü" * 60_000, 421),
        (PUBLIC, "example.com:443", 200),
        (PUBLIC, "a.b.example.org", 200),
        (PUBLIC, "example.org", 421),
        (PUBLIC, "a.example.com", 421),
        (PUBLIC, "localhost", 421),
        (PUBLIC, "192.0.2.1", 200),
        (ANY, "evil.example", 200),
    ],
)
def test_host(hosts: Hosts, host: str, expected: int) -> None:
    """Host must be an allowed name or an address; the answer does not depend on the request before."""
    for _ in range(2):
        assert status(hosts, host=host) == expected
        assert status(hosts, host="other.example") == (200 if hosts is ANY else 421)


@pytest.mark.parametrize(
    ("hosts", "host", "origin", "expected"),
    [
        (LOCAL, "localhost:80", "http://localhost:3000", 200),
        (LOCAL, "127.0.0.1:80", "http://[::1]", 200),
        (LOCAL, "10.1.2.3", "http://10.1.2.3:8080", 200),
        (LOCAL, "127.0.0.1", "http://10.1.2.3", 403),
        (LOCAL, "127.0.0.1", "https://evil.example", 403),
        (LOCAL, "127.0.0.1", "null", 403),
        (LOCAL, "127.0.0.1", "chrome-extension://abc", 403),
        (LOCAL, "127.0.0.1", "http://localhost@evil.example", 403),
        (LOCAL, "127.0.0.1", "", 403),
        (PUBLIC, "example.com", "https://a.example.org", 200),
        (PUBLIC, "example.com", "https://evil.example", 403),
        (ANY, "example.com", "https://evil.example", 200),
    ],
)
def test_origin(hosts: Hosts, host: str, origin: str, expected: int) -> None:
    """Another site's request is refused if its method may change something."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert status(hosts, method, host=host, origin=origin) == expected
    for method in ("GET", "HEAD", "OPTIONS"):
        assert status(hosts, method, host=host, origin=origin) == 200


def test_repeated_fields() -> None:
    """A repeated Host or Origin is refused, whichever of them would be right."""
    host, origin = (b"host", b"localhost"), (b"origin", b"http://localhost")

    assert LOCAL.refusal("POST", [host, origin]) is None
    for headers, expected in (
        ([host, (b"host", b"evil.example")], 421),
        ([(b"host", b"evil.example"), host], 421),
        ([host, origin, (b"origin", b"http://evil.example")], 403),
        ([host, (b"origin", b"http://evil.example"), origin], 403),
    ):
        refusal = LOCAL.refusal("POST", headers)
        assert refusal is not None
        assert refusal.status == expected


def test_loopback() -> None:
    """Only loopback addresses are loopback."""
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "localhost", "")))
