"""Builds a tree of nodes with positions from YAML text, without recursion and within limits.

The tree is built from the parser's events instead of by PyYAML's composer, because the composer recurses (in C, too) as
deep as the file nests and cannot limit the number of nodes to which aliases expand. libyaml parses where it is
available; the text of a syntax error always comes from PyYAML's own parser, so it is the same everywhere. Both parsers
return the same data and positions for input that both accept, but PyYAML's own rejects some tabs that libyaml accepts,
such as one at the end of a line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from backworks.config.source import Position

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "MappingNode",
    "Node",
    "ScalarNode",
    "SequenceNode",
    "YamlError",
    "compose",
]

#: The maximum number of nodes, counting those behind an alias at each use. A file of 1,000 endpoints has about 10,000.
MAX_NODES = 100_000
#: The maximum depth of nesting. The models use 4 levels; a plugin's own configuration may use the rest.
MAX_DEPTH = 64

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """The text is not valid YAML, or exceeds a limit.

    Attributes:
        position: The position of the error, or ``None`` if it concerns the whole file.
    """

    def __init__(self, text: str, position: Position | None = None) -> None:
        super().__init__(text)
        self.position = position


@dataclass(slots=True)
class Node:
    """A node with its position, its tag, and its size: the number of nodes in it, itself included."""

    at: Position
    tag: str | None
    size: int = 1


@dataclass(slots=True)
class ScalarNode(Node):
    """A scalar; ``plain`` if it has no quotes and is not a block scalar (``|`` or ``>``)."""

    text: str = ""
    plain: bool = False


@dataclass(slots=True)
class SequenceNode(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MappingNode(Node):
    """A mapping: keys and values in turn, in the order of the file, duplicate keys included."""

    items: list[Node] = field(default_factory=list)


def compose(text: str, loader: Any = None) -> Node | None:
    """Reads one YAML document.

    Args:
        text: The document.
        loader: The PyYAML loader that parses; by default the fastest available.

    Returns:
        The root, or ``None`` if the text contains no document.

    Raises:
        YamlError: The text is not valid YAML, or exceeds a limit.
    """
    loader = loader or _FAST
    try:
        return _compose(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        if loader is not yaml.SafeLoader:
            compose(text, yaml.SafeLoader)
        raise _syntax_problem(error, text) from None


def _compose(events: Iterator[yaml.Event]) -> Node | None:
    root: Node | None = None
    anchors: dict[str | None, Node | None] = {}
    open_nodes: list[tuple[SequenceNode | MappingNode, str | None]] = []
    documents = 0
    for event in events:
        mark: Any = event.start_mark  # never None for an event from the parser
        at = Position(mark.line + 1, mark.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise YamlError("the file contains a second document; remove it", at)
                continue
            case yaml.ScalarEvent():
                node: Node = ScalarNode(at, event.tag, text=event.value, plain=event.tag is None and event.implicit[0])
                if event.anchor is not None:
                    anchors[event.anchor] = node
            case yaml.AliasEvent():
                node = _aliased(anchors, event.anchor, at)
            case yaml.CollectionStartEvent():
                if len(open_nodes) == MAX_DEPTH:
                    raise YamlError(f"the file nests more than {MAX_DEPTH} levels deep", at)
                kind = SequenceNode if isinstance(event, yaml.SequenceStartEvent) else MappingNode
                open_nodes.append((kind(at, event.tag), event.anchor))
                if event.anchor is not None:
                    anchors[event.anchor] = None
                continue
            case yaml.CollectionEndEvent():
                node, anchor = open_nodes.pop()
                if anchor is not None:
                    anchors[anchor] = node
            case _:
                continue
        if open_nodes:
            parent = open_nodes[-1][0]
            parent.items.append(node)
            parent.size += node.size
            if parent.size > MAX_NODES:
                raise YamlError(f"the file has more than {MAX_NODES:,} values, counting each use of an alias", at)
        else:
            root = node
    return root


def _aliased(anchors: dict[str | None, Node | None], name: str | None, at: Position) -> Node:
    node = anchors.get(name)
    if node is None:
        if name in anchors:
            raise YamlError(f"the alias *{name} is inside the value that it refers to", at)
        raise YamlError(f"the alias *{name} has no anchor &{name} before it", at)
    return node


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> YamlError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlError(f"invalid YAML: {error.problem}", Position(1, 1))
    sentence = f"invalid YAML: {error.problem}"
    if error.context and error.context_mark is not None and error.context_mark.line != mark.line:
        sentence += f" ({error.context} from line {error.context_mark.line + 1})"
    if "unknown escape character" in sentence:
        sentence += "; write text with backslashes in single quotes"
    line = (text.splitlines()[mark.line : mark.line + 1] or [""])[0]
    if line[mark.column : mark.column + 1] == "\t" and not line[: mark.column].strip():
        sentence += "; indent with spaces, not tabs"
    elif line[mark.column - 1 : mark.column + 1] == "${":
        sentence += "; quote ${NAME} inside [ ] and { }"
    return YamlError(sentence, Position(mark.line + 1, mark.column + 1))
