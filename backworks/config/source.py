"""The positions of a configuration's values, and its problems.

A :class:`Source` is the plain data of one configuration with the line and column of each key and value. Every check
reports :class:`Problem` objects; :meth:`Source.lines` turns them into the lines of a ``ConfigError``, in one format and
in the order of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from backworks.printable import printable

__all__ = ["KeyPath", "Position", "Problem", "Source", "path_text", "show"]

KeyPath = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Position(NamedTuple):
    """A line and a column, both counted from 1; columns count characters."""

    line: int
    column: int


class Problem(NamedTuple):
    """One problem of a configuration.

    Attributes:
        path: The path of the affected value; empty for the whole file.
        text: A description without the position.
        at_key: Whether to report the position of the key (one that is unknown or incomplete) instead of the value's.
        position: The position, if it differs from the one of ``path``.
    """

    path: KeyPath
    text: str
    at_key: bool = False
    position: Position | None = None


@dataclass(frozen=True)
class Source:
    """The data of one configuration.

    Attributes:
        name: The file as given by the user, or ``None`` for a dict.
        base: The directory at which relative paths start.
        data: Mappings, lists and scalars, with variables expanded.
        keys, values: The positions of the key and of the value at each path; empty for a dict.
        written: The scalars that contain ``${...}``, unexpanded, because their expansion may be a secret.
        texts: The expanded text of each value that consists of one unquoted variable.
        holes: The paths whose value cannot be read; it is ``None`` in ``data``.
        problems: The problems found while reading.
    """

    name: str | None
    base: Path
    data: object = None
    keys: Mapping[KeyPath, Position] = field(default_factory=dict)
    values: Mapping[KeyPath, Position] = field(default_factory=dict)
    written: Mapping[KeyPath, str] = field(default_factory=dict)
    texts: Mapping[KeyPath, str] = field(default_factory=dict)
    holes: frozenset[KeyPath] = frozenset()
    problems: Sequence[Problem] = ()

    @property
    def file(self) -> Path | None:
        """The absolute path of the file, or ``None`` for a dict."""
        return None if self.name is None else self.base / Path(self.name).name

    def position(self, problem: Problem) -> Position | None:
        """Returns the position of a problem: that of its key or value, or of the nearest parent that has one."""
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
        """Formats each problem as ``backworks.yaml:12:14: plugins.weather.timeout: ...``, sorted by position."""
        placed = [(self.position(problem), problem) for problem in problems]
        placed.sort(key=lambda item: item[0] or Position(0, 0))
        lines = []
        for position, problem in placed:
            place = self.name or ""
            if position is not None:
                place += f":{position.line}:{position.column}"
            lines.append(printable(": ".join(part for part in (place, path_text(problem.path), problem.text) if part)))
        return list(dict.fromkeys(lines))


def path_text(path: KeyPath) -> str:
    """Formats a path, such as ``plugins.weather.timeout`` or ``endpoints["/api"].methods[0]``."""
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
    """Describes a value in at most one line."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(_cut(value))
        case int() if abs(value) >= 10**80:
            return "a number with more than 80 digits"
        case int() | float():
            return _cut(repr(value))
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return f"a Python object of type {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
