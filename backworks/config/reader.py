"""A file or a dict -> :class:`Source`: plain data, positions, variables expanded.

The YAML is that of YAML 1.2's core schema, which editors use as well: ``true`` and ``false`` are the only
booleans (a station ``NO`` is text), ``0o17`` is octal and ``017`` is seventeen, a date is text. Keys are
text. ``<<`` merges, as YAML 1.1 had it.

An unquoted value that is one variable, ``port: ${PORT}``, is read as if its text stood there: a number,
``true``, ``null``. In quotes, or with other text around it, it stays text.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.config.nodes import (
    MAX_DEPTH,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    YamlError,
    compose,
)
from backworks.config.source import KeyPath, Position, Problem, Source
from backworks.config.variables import VariableError, expand, is_one_variable
from backworks.errors import ConfigError

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["MAX_FILE", "plain_value", "read_dict", "read_file"]

#: Bytes of a file: many times a thousand endpoints; a limit for files that were never meant to be a
#: configuration.
MAX_FILE = 4 << 20

_CORE = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())
}
#: What YAML does not allow in its text (YAML 1.2, section 5.1).
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read_file(path: str | PathLike[str]) -> Source:
    """Reads a YAML file.

    Raises:
        ConfigError: The file cannot be read or is no YAML. What else is wrong stands in ``problems``.
    """
    file = Path(path)
    empty = Source(str(path), Path(os.path.abspath(file)).parent)  # noqa: PTH100  # resolve() would follow links
    try:
        root = compose(_decode(_bytes(file)))
    except YamlError as problem:
        raise ConfigError(empty.lines([Problem((), str(problem), position=problem.position)])) from None
    builder = _Builder()
    builder.values[()] = Position(1, 1)
    data = None if root is None else builder.value(root, ())
    return builder.source(empty, data)


def read_dict(data: Mapping[str, object], base: Path) -> Source:
    """Takes a mapping as a file would be taken: variables in its strings are expanded.

    Raises:
        ConfigError: It nests too deep; perhaps it contains itself.
    """
    builder = _Builder()
    empty = Source(None, base)
    try:
        return builder.source(empty, builder.plain(data, ()))
    except YamlError as error:
        raise ConfigError(empty.lines([Problem((), str(error))])) from None


def _bytes(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise YamlError("found a directory, accepted a YAML file")
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise YamlError("there is no such file") from None
    except (OSError, ValueError) as error:
        raise YamlError(f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_FILE:
        raise YamlError(f"found more than {MAX_FILE:,} bytes, accepted a configuration of at most that")
    return data


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise YamlError(f"found the byte 0x{data[error.start]:02x}, accepted UTF-8 text", _end(before)) from None
    bad = _UNPRINTABLE.search(text)
    if bad:
        raise YamlError(
            f"found the character U+{ord(bad[0]):04X}, which YAML does not allow", _end(text[: bad.start()])
        )
    return text


def _end(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


@dataclass
class _Builder:
    """Makes plain data of nodes, and notes where everything stands."""

    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    holes: set[KeyPath] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def source(self, empty: Source, data: object) -> Source:
        return replace(
            empty,
            data=data,
            keys=self.keys,
            values=self.values,
            written=self.written,
            holes=frozenset(self.holes),
            problems=tuple(self.problems),
        )

    def value(self, node: Node, path: KeyPath) -> object:
        self.values[path] = node.at
        if not _tag_fits(node):
            tag = (node.tag or "").replace(_CORE, "!!")
            return self._hole(path, f"found the tag {tag}; accepted are values without one")
        match node:
            case ScalarNode():
                return self._scalar(node, path)
            case SequenceNode():
                return [self.value(item, (*path, index)) for index, item in enumerate(node.items)]
            case MappingNode():
                return self._mapping(node, path)
        raise AssertionError(node)

    def plain(self, value: object, path: KeyPath) -> object:
        """Does for a Python value what :meth:`value` does for a node."""
        if len(path) > MAX_DEPTH:
            raise YamlError(f"found more than {MAX_DEPTH} levels of nesting")
        match value:
            case str():
                return self._expand(value, path)
            case Mapping():
                return {str(key): self.plain(item, (*path, str(key))) for key, item in value.items()}
            case list() | tuple():
                return [self.plain(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        result: dict[str, object] = {}
        merged: list[tuple[str, Position, Node]] = []
        for key, value in _pairs(node):
            if not isinstance(key, ScalarNode):
                self.problems.append(
                    Problem(path, "found a key that is a list or a mapping; keys are text", position=key.at)
                )
            elif key.plain and key.text == "<<":
                merged.extend(self._merge(value, path, key.at))
            elif key.text in result:
                text = f"duplicate key (first at line {self.keys[*path, key.text].line})"
                self.problems.append(Problem((*path, key.text), text, position=key.at))
            else:
                self.keys[*path, key.text] = key.at
                result[key.text] = self.value(value, (*path, key.text))
        for name, at, value in merged:
            if name not in result:
                self.keys[*path, name] = at
                result[name] = self.value(value, (*path, name))
        return result

    def _merge(self, node: Node, path: KeyPath, at: Position) -> Iterator[tuple[str, Position, Node]]:
        """The pairs that ``<<`` brings in, the ones that win first."""
        mappings = node.items if isinstance(node, SequenceNode) else [node]
        for mapping in mappings:
            if not isinstance(mapping, MappingNode):
                self.problems.append(
                    Problem(path, "found no mapping after <<, accepted one or a list of them", position=at)
                )
                continue
            deeper = []
            for key, value in _pairs(mapping):
                if isinstance(key, ScalarNode) and key.plain and key.text == "<<":
                    deeper.append(value)
                elif isinstance(key, ScalarNode):
                    yield key.text, key.at, value
            for value in deeper:
                yield from self._merge(value, path, at)

    def _scalar(self, node: ScalarNode, path: KeyPath) -> object:
        if not node.plain:
            return self._expand(node.text, path)
        if not is_one_variable(node.text):
            return self._resolve(node.text, path) if "$" not in node.text else self._expand(node.text, path)
        text = self._expand(node.text, path)
        return None if text is None else self._resolve(text, path)

    def _expand(self, text: str, path: KeyPath) -> Any:
        if "${" in text:
            self.written[path] = text
        try:
            return expand(text)
        except VariableError as problem:
            return self._hole(path, str(problem))

    def _hole(self, path: KeyPath, text: str) -> Any:
        """Notes that there is no good value at a path, and returns ``None`` in its place."""
        self.problems.append(Problem(path, text))
        self.holes.add(path)
        return None

    def _resolve(self, text: str, path: KeyPath) -> object:
        try:
            return plain_value(text)
        except ValueError:
            return self._hole(path, "found a number that JSON cannot carry, accepted a finite one")


def plain_value(text: str) -> object:
    """Returns what a plain scalar without variables means: ``None``, a bool, a number, or its text.

    Raises:
        ValueError: It is a number that JSON cannot carry.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(text)
    if not _FLOAT.fullmatch(text):
        return text
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _pairs(node: MappingNode) -> Iterator[tuple[Node, Node]]:
    return zip(node.items[::2], node.items[1::2], strict=True)


def _tag_fits(node: Node) -> bool:
    match node:
        case ScalarNode():
            # With !!str (and "!") the parser says that the scalar is not plain, so that it stays text.
            return node.tag in (None, "!", _CORE + "str")
        case SequenceNode():
            return node.tag in (None, "!", _CORE + "seq")
    return node.tag in (None, "!", _CORE + "map")
