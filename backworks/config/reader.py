"""Reads a file or a dict into a :class:`Source`: plain data with positions and expanded variables.

Files use the core schema of YAML 1.2, as editors do: ``true`` and ``false`` are the only booleans (a station ``NO`` is
a string), ``0o17`` is octal and ``017`` is seventeen, and a date is a string. Keys are strings. ``<<`` merges mappings,
as in YAML 1.1.

An unquoted value that consists of one variable, such as ``port: ${PORT}``, is read as if the file contained the
variable's text: it can be a number, ``true`` or ``null``. In quotes, or with other text around it, it is a string. In
a plugin's configuration, it is also a string if the plugin's schema requires one.
"""

from __future__ import annotations

import math
import os
import re
import sys
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

#: The maximum size of a file in bytes: many times the size of 1,000 endpoints, so only a file that is not a
#: configuration exceeds it.
MAX_FILE = 4 << 20

#: No longer whole number fits into a floating-point number, in which most readers of JSON store all numbers.
_MAX_DIGITS = 400

_CORE = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())
}
#: Characters that YAML does not allow (YAML 1.2, section 5.1).
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read_file(path: str | PathLike[str]) -> Source:
    """Reads a YAML file.

    Raises:
        ConfigError: The file cannot be read, or is not valid YAML. All other problems are in ``Source.problems``.
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
    """Reads a mapping like a file: expands the variables in its strings.

    Raises:
        ConfigError: The mapping nests too deep, for example because it contains itself.
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
            raise YamlError("must be a YAML file, not a directory")
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise YamlError("the file does not exist") from None
    except (OSError, ValueError) as error:
        raise YamlError(f"cannot read the file: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_FILE:
        raise YamlError(f"the file is larger than {MAX_FILE:,} bytes, the limit of a configuration")
    return data


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        text = f"the file must be UTF-8 text; the byte 0x{data[error.start]:02x} is not valid here"
        raise YamlError(text, _end(before)) from None
    bad = _UNPRINTABLE.search(text)
    if bad:
        raise YamlError(f"YAML does not allow the character U+{ord(bad[0]):04X}; remove it", _end(text[: bad.start()]))
    return text


def _end(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


@dataclass
class _Builder:
    """Converts nodes to plain data and records the position of each key and value."""

    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)
    holes: set[KeyPath] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def source(self, empty: Source, data: object) -> Source:
        return replace(
            empty,
            data=data,
            keys=self.keys,
            values=self.values,
            written=self.written,
            texts=self.texts,
            holes=frozenset(self.holes),
            problems=tuple(self.problems),
        )

    def value(self, node: Node, path: KeyPath) -> object:
        self.values[path] = node.at
        if not _tag_fits(node):
            tag = (node.tag or "").replace(_CORE, "!!")
            return self._hole(path, f"the tag {tag} is not supported; remove it")
        match node:
            case ScalarNode():
                return self._scalar(node, path)
            case SequenceNode():
                return [self.value(item, (*path, index)) for index, item in enumerate(node.items)]
            case MappingNode():
                return self._mapping(node, path)
        raise AssertionError(node)

    def plain(self, value: object, path: KeyPath) -> object:
        """Converts a Python value, as :meth:`value` converts a node."""
        if len(path) > MAX_DEPTH:
            raise YamlError(f"the configuration nests more than {MAX_DEPTH} levels deep")
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
                self.problems.append(Problem(path, "a key must be a string, not a list or a mapping", position=key.at))
            elif key.plain and key.text == "<<":
                merged.extend(self._merge(value, path, key.at))
            elif key.text in result:
                text = f"duplicate key; it first appears in line {self.keys[*path, key.text].line}"
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
        """Yields the pairs that ``<<`` adds, those with precedence first."""
        mappings = node.items if isinstance(node, SequenceNode) else [node]
        for mapping in mappings:
            if not isinstance(mapping, MappingNode):
                self.problems.append(
                    Problem(path, "the value of << must be a mapping or a list of mappings", position=at)
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
        if text is None:
            return None
        self.texts[path] = text
        try:
            return plain_value(text)
        except ValueError:
            return text

    def _expand(self, text: str, path: KeyPath) -> Any:
        if "${" in text:
            self.written[path] = text
        try:
            return expand(text)
        except VariableError as problem:
            return self._hole(path, str(problem))

    def _hole(self, path: KeyPath, text: str) -> Any:
        """Records that a path has no valid value, and returns ``None`` as a substitute."""
        self.problems.append(Problem(path, text))
        self.holes.add(path)
        return None

    def _resolve(self, text: str, path: KeyPath) -> object:
        try:
            return plain_value(text)
        except ValueError as error:
            return self._hole(path, str(error))


def plain_value(text: str) -> object:
    """Returns the value of a plain scalar without variables: ``None``, a bool, a number, or its text.

    Raises:
        ValueError: The scalar is a number that JSON cannot represent.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("must be a finite number: JSON cannot represent infinity and NaN; quote it if it is text")
    number: float
    if _INT.fullmatch(text) and len(text) <= _MAX_DIGITS:
        number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    elif _FLOAT.fullmatch(text) or _INT.fullmatch(text):
        number = math.inf if text[:2] in ("0o", "0x") else float(text)
    else:
        return text
    if abs(number) > sys.float_info.max:
        raise ValueError("is a number that is too large for JSON; quote it if it is text")
    return number


def _pairs(node: MappingNode) -> Iterator[tuple[Node, Node]]:
    return zip(node.items[::2], node.items[1::2], strict=True)


def _tag_fits(node: Node) -> bool:
    match node:
        case ScalarNode():
            # For !!str (and "!") the parser reports that the scalar is not plain, so it stays a string.
            return node.tag in (None, "!", _CORE + "str")
        case SequenceNode():
            return node.tag in (None, "!", _CORE + "seq")
    return node.tag in (None, "!", _CORE + "map")
