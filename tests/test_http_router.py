"""The router, which maps a path to its target."""

from __future__ import annotations

import itertools
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backworks.http.router import BadPath, Router, parameters

ROUTER = Router(
    {
        route: route
        for route in (
            "/",
            "/a",
            "/a/",
            "/a/b",
            "/a/{one}",
            "/a/b/c",
            "/a/{one}/d",
            "/{x}/{y}/{z}/end",
            "/{x}/b/{w}/stop",
            "/Grüße/{who}",
        )
    }
)


@pytest.mark.parametrize(
    ("path", "route", "params"),
    [
        (b"/", "/", {}),
        (b"/a", "/a", {}),
        (b"/a/", "/a/", {}),
        (b"/a/b", "/a/b", {}),
        (b"/%61/%62", "/a/b", {}),
        (b"/a/x", "/a/{one}", {"one": "x"}),
        (b"/a/b%2Fc", "/a/{one}", {"one": "b/c"}),
        (b"/a/%25", "/a/{one}", {"one": "%"}),
        (b"/a/..", "/a/{one}", {"one": ".."}),
        (b"/a/+", "/a/{one}", {"one": "+"}),
        (b"/a/%", "/a/{one}", {"one": "%"}),
        (b"/a/b/c", "/a/b/c", {}),
        (b"/a/b/d", "/a/{one}/d", {"one": "b"}),
        (b"/q/b/1/end", "/{x}/{y}/{z}/end", {"x": "q", "y": "b", "z": "1"}),
        (b"/q/b/1/stop", "/{x}/b/{w}/stop", {"x": "q", "w": "1"}),
        ("/Grüße/Zoë".encode(), "/Grüße/{who}", {"who": "Zoë"}),
        (b"/Gr%C3%BC%C3%9Fe/Zo%C3%AB", "/Grüße/{who}", {"who": "Zoë"}),
    ],
)
def test_found(path: bytes, route: str, params: dict[str, str]) -> None:
    """Literals take precedence, parameters are tried next, and each segment is decoded separately."""
    assert ROUTER.find(path) == (route, params)


@pytest.mark.parametrize(
    "path", [b"", b"*", b"a", b"//", b"/b", b"/a/b/", b"/a//", b"/a/b/c/", b"/a/x/e", b"/a%2Fb", b"/A", b"/q/b/1/x"]
)
def test_not_found(path: bytes) -> None:
    """A path without a matching route is not found: nothing is normalised, and no parameter is empty."""
    assert ROUTER.find(path) is None


@pytest.mark.parametrize("path", [b"/a/%ff", b"/\xff", b"/a/%C3"])
def test_not_utf8(path: bytes) -> None:
    """A path that is not UTF-8 raises BadPath."""
    with pytest.raises(BadPath):
        ROUTER.find(path)


def test_same_shape() -> None:
    """Two routes that match the same paths are rejected, and the error names both."""
    with pytest.raises(ValueError, match=r"'/a/\{x\}' and '/a/\{y\}' match the same paths"):
        Router({"/a/{x}": 1, "/a/{y}": 2})


def test_no_routes() -> None:
    """A router without routes finds nothing."""
    assert Router[int]({}).find(b"/") is None


def test_every_node_once() -> None:
    """Even if every level has a literal and a parameter, a path without a match is rejected quickly."""
    depth = 12
    levels = [("a", f"{{p{level}}}") for level in range(depth)]
    router = Router({"/" + "/".join(segments): 1 for segments in itertools.product(*levels)})

    assert router.find(b"/a" * depth + b"/a") is None
    assert router.find(b"/a" * 100_000) is None


@given(st.lists(st.text(min_size=1).filter(lambda text: text.isprintable()), min_size=1, max_size=5))
def test_round_trip(values: list[str]) -> None:
    """Invariant: values that are percent-encoded in a path become the values of the parameters."""
    route = "/" + "/".join(f"{{p{at}}}" for at in range(len(values)))
    path = "/" + "/".join(quote(value, safe="") for value in values)

    assert Router({route: 1}).find(path.encode()) == (1, {f"p{at}": value for at, value in enumerate(values)})


def test_parameters() -> None:
    """The parameters of a route are named in their order."""
    assert parameters("/a/{b}/c/{d}") == ("b", "d")
