"""Where the values of a configuration stand, and what is wrong with them.

A :class:`Source` is the plain data of one configuration with the line and column of each key and value.
Everything that complains makes :class:`Problem` objects; :meth:`Source.lines` makes the lines of a
``ConfigError`` of them, in one format and in the order of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = ["KeyPath", "Position", "Problem", "Source", "path_text", "show"]

KeyPath = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Position(NamedTuple):
    """A line and a column, both counted from 1, the column in characters."""

    line: int
    column: int


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: The value that it is about; empty for the whole file.
        text: A sentence without the place.
        at_key: Whether to point at the key (an unknown one, or one that lacks something) instead of at the
        value.
        position: The place, where it is not the one of the path.
    """

    path: KeyPath
    text: str
    at_key: bool = False
    position: Position | None = None


@dataclass(frozen=True)
class Source:
    """The data of one configuration.

    Attributes:
        name: The file as the user named it, or ``None`` for a dict.
        base: The directory at which relative paths start.
        data: Mappings, lists and scalars, with the variables expanded.
        keys, values: The position of the key and of the value at a path; empty for a dict.
        written: The scalars that hold a ``${...}``, as they were written: what was expanded may be a secret.
        holes: The paths whose value could not be read and is ``None`` in ``data``.
        problems: What was wrong already while reading.
    """

    name: str | None
    base: Path
    data: object = None
    keys: Mapping[KeyPath, Position] = field(default_factory=dict)
    values: Mapping[KeyPath, Position] = field(default_factory=dict)
    written: Mapping[KeyPath, str] = field(default_factory=dict)
    holes: frozenset[KeyPath] = frozenset()
    problems: Sequence[Problem] = ()

    @property
    def file(self) -> Path | None:
        """The file, absolute, or ``None`` for a dict."""
        return None if self.name is None else self.base / Path(self.name).name

    def position(self, problem: Problem) -> Position | None:
        """Finds the place of a problem: its key or value, or the nearest that has a place."""
        if problem.position is not None or not self.values:
            return problem.position
        path, at_key = problem.path, problem.at_key
        while path:
            first, second = (self.keys, self.values) if at_key else (self.values, self.keys)
            found = first.get(path) or second.get(path)
            if found:
                return found
            path, at_key = path[:-1], True
        return self.values.get((), Position(1, 1))

    def lines(self, problems: Iterable[Problem]) -> list[str]:
        """Formats problems, each as ``backworks.yaml:12:14: plugins.weather.timeout: ...``, by position."""
        placed = [(self.position(problem), problem) for problem in problems]
        placed.sort(key=lambda item: item[0] or Position(0, 0))
        lines = []
        for position, problem in placed:
            place = self.name or ""
            if position is not None:
                place += f":{position.line}:{position.column}"
            lines.append(": ".join(part for part in (place, path_text(problem.path), problem.text) if part))
        return list(dict.fromkeys(lines))


def path_text(path: KeyPath) -> str:
    """Writes a path as people do: ``plugins.weather.timeout``, ``endpoints["/api"].methods[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(_cut(part), ensure_ascii=False)}]"
    return text


def show(value: object) -> str:
    """Describes a value that was found, in at most a line."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(_cut(value))
        case int() | float():
            return _cut(repr(value))
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return f"a Python object of the type {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
