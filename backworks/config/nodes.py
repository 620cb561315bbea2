"""YAML text as a tree of nodes with positions, made without recursion and within limits.

The tree is made from the parser's events, not by PyYAML's composer: the composer recurses (in C, too) as deep as the
file nests, and the number of nodes that an alias stands for is known only here. libyaml parses where it is there;
the words of a syntax error come from PyYAML's own parser in any case, so that they are the same everywhere. The two
give the same data and positions for what both take, but PyYAML's own refuses some tabs that libyaml takes, such as
one at the end of a line.
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

#: Nodes, those that an alias repeats counted each time. A file of a thousand endpoints has some 10,000.
MAX_NODES = 100_000
#: Levels of nesting. The deepest that the models know is 4; the rest is a plugin's own.
MAX_DEPTH = 64

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """The text is no YAML that is accepted here.

    Attributes:
        position: Where, or ``None`` if it is about the whole file.
    """

    def __init__(self, text: str, position: Position | None = None) -> None:
        super().__init__(text)
        self.position = position


@dataclass(slots=True)
class Node:
    """Where a node stands, and how many nodes it is with all that it holds."""

    at: Position
    tag: str | None
    size: int = 1


@dataclass(slots=True)
class ScalarNode(Node):
    """A text; ``plain`` if it was written without quotes, as ``|`` and ``>`` are not."""

    text: str = ""
    plain: bool = False


@dataclass(slots=True)
class SequenceNode(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MappingNode(Node):
    """Pairs of key and value in the order of the file, doubles included; flat: key, value, key, value."""

    items: list[Node] = field(default_factory=list)


def compose(text: str, loader: Any = None) -> Node | None:
    """Reads one YAML document.

    Args:
        text: The document.
        loader: The PyYAML loader that parses; by default the fastest that is there.

    Returns:
        The root, or ``None`` if the text holds no document.

    Raises:
        YamlError: The text is no YAML, or exceeds a limit.
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
        mark: Any = event.start_mark  # never None: the parser made it
        at = Position(mark.line + 1, mark.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise YamlError("found a second document; a configuration is one", at)
                continue
            case yaml.ScalarEvent():
                node: Node = ScalarNode(at, event.tag, text=event.value, plain=event.tag is None and event.implicit[0])
                if event.anchor is not None:
                    anchors[event.anchor] = node
            case yaml.AliasEvent():
                node = _aliased(anchors, event.anchor, at)
            case yaml.CollectionStartEvent():
                if len(open_nodes) == MAX_DEPTH:
                    raise YamlError(f"found more than {MAX_DEPTH} levels of nesting", at)
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
                raise YamlError(f"found more than {MAX_NODES:,} values, each use of an alias counted", at)
        else:
            root = node
    return root


def _aliased(anchors: dict[str | None, Node | None], name: str | None, at: Position) -> Node:
    node = anchors.get(name)
    if node is None:
        if name in anchors:
            raise YamlError(f"found the alias *{name} inside of what it names", at)
        raise YamlError(f"found the alias *{name}, but no &{name} before it", at)
    return node


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> YamlError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlError(f"no YAML: {error.problem}", Position(1, 1))
    sentence = f"no YAML: {error.problem}"
    if error.context and error.context_mark is not None and error.context_mark.line != mark.line:
        sentence += f" ({error.context} from line {error.context_mark.line + 1})"
    line = (text.splitlines()[mark.line : mark.line + 1] or [""])[0]
    if line[mark.column : mark.column + 1] == "\t" and not line[: mark.column].strip():
        sentence += "; indent with spaces, not with tabs"
    elif line[mark.column - 1 : mark.column + 1] == "${":
        sentence += "; within [ ] and { } a ${NAME} needs quotes"
    return YamlError(sentence, Position(mark.line + 1, mark.column + 1))
