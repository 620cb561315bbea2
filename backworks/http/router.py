"""Maps a path to an endpoint with a tree that has one level for each segment of a path.

Rules
-----
- Paths are compared by segment. Each segment is percent-decoded separately, so an encoded slash does not end a segment.
- A literal segment takes precedence over a parameter. If the literal leads to no match, the parameter is tried.
- A parameter matches exactly one segment, which must not be empty.
- ``/a`` and ``/a/`` are different paths. Paths are not normalised: ``..`` is a segment like any other.

The cost: A path that equals a route without parameters is found with one dictionary lookup, because no other route
takes precedence. Any other path takes one lookup per segment, whatever the number of endpoints, as long as no node has
both a literal and a parameter that match. If one has, both branches may be tried; because each node has one parent, no
node is visited twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BadPath", "Router", "parameters"]

Target = TypeVar("Target")

_NO_PARAMETERS: Mapping[str, str] = {}


class BadPath(ValueError):
    """The path is not percent-encoded UTF-8."""


class _Node(Generic[Target]):
    __slots__ = ("literals", "names", "parameter", "route", "target")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[Target]] = {}
        self.parameter: _Node[Target] | None = None
        self.route: str | None = None
        self.names: tuple[str, ...] = ()
        self.target: Target | None = None


class Router(Generic[Target]):
    """Finds the target of a path.

    Args:
        routes: The target of each route; routes as in the configuration.

    Raises:
        ValueError: Two routes match the same paths.
    """

    def __init__(self, routes: Mapping[str, Target]) -> None:
        self._root: _Node[Target] = _Node()
        self._literal: dict[bytes, tuple[Target, Mapping[str, str]]] = {}
        for route, target in routes.items():
            self._add(route, target)
            if "%" not in route and not parameters(route):
                self._literal[route.encode()] = (target, _NO_PARAMETERS)

    def find(self, raw_path: bytes) -> tuple[Target, Mapping[str, str]] | None:
        """Finds the target of a path.

        Args:
            raw_path: The path as sent by the client: percent-encoded, without the query.

        Returns:
            The target and the decoded values of the parameters, or ``None``.

        Raises:
            BadPath: The path is not percent-encoded UTF-8.
        """
        if (found := self._literal.get(raw_path)) is not None:
            return found
        try:
            segments = raw_path.decode().split("/")
            if b"%" in raw_path:
                segments = [unquote(segment, errors="strict") for segment in segments]
        except UnicodeDecodeError:
            raise BadPath from None
        values: list[str] = []
        node = _descend(self._root, segments, 1, values) if not segments[0] else None
        if node is None or node.target is None:
            return None
        return node.target, dict(zip(node.names, values, strict=True))

    def _add(self, route: str, target: Target) -> None:
        node = self._root
        for segment in route.split("/")[1:]:
            if _name(segment) is None:
                node = node.literals.setdefault(segment, _Node())
            else:
                node.parameter = node.parameter or _Node()
                node = node.parameter
        if node.route is not None:
            raise ValueError(f"endpoints {node.route!r} and {route!r} match the same paths; remove one of them")
        node.route, node.names, node.target = route, parameters(route), target


def parameters(route: str) -> tuple[str, ...]:
    """Returns the names of a route's parameters: ``("station",)`` for ``/api/weather/{station}``."""
    return tuple(name for segment in route.split("/") if (name := _name(segment)) is not None)


def _name(segment: str) -> str | None:
    return segment[1:-1] if segment.startswith("{") and segment.endswith("}") else None


def _descend(node: _Node[Target], segments: list[str], at: int, values: list[str]) -> _Node[Target] | None:
    while at < len(segments):
        segment = segments[at]
        at += 1
        literal = node.literals.get(segment)
        parameter = node.parameter if segment else None
        if literal is not None and parameter is not None:
            before = len(values)
            found = _descend(literal, segments, at, values)
            if found is not None:
                return found
            del values[before:]
            literal = None
        if literal is not None:
            node = literal
        elif parameter is not None:
            values.append(segment)
            node = parameter
        else:
            return None
    return node if node.target is not None else None
