"""Which part of the package may import which: imports go down, never up."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import backworks

PACKAGE = Path(backworks.__file__).parent

#: The parts of the package, the lowest first. Those on the same line do not import each other.
LAYERS = (
    ("errors", "sdk", "settings", "system"),
    ("ffi", "reply"),
    ("loading",),
    ("isolation", "config"),
    ("plugin", "builtin"),
    ("compiled_plugin", "observing"),
    ("starting",),
    ("manager",),
    ("http",),
    ("authoring",),
    ("cli",),
)
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__"))


def part_of(module: str) -> str | None:
    """Returns the part of the package that a module belongs to, or ``None`` for another package."""
    names = module.split(".")
    return names[1] if names[0] == "backworks" and len(names) > 1 else None


def imports(tree: ast.AST) -> set[str]:
    """Returns the parts that a program imports, at the start or later, but not what only type checkers see."""
    found: set[str | None] = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.ImportFrom) and node.module == "backworks":
            found |= {alias.name if alias.name in HEIGHT else None for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(part_of(node.module or ""))
        elif isinstance(node, ast.Import):
            found |= {part_of(alias.name) for alias in node.names}
        else:
            todo += ast.iter_child_nodes(node)
    return {part for part in found if part is not None}


def test_every_part_has_a_layer() -> None:
    """A new module or package at the top has a place among the others."""
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}

    assert parts <= set(HEIGHT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path: Path) -> None:
    """A module imports its own part and those below it."""
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    others = imports(ast.parse(path.read_text(encoding="utf-8"))) - {part}

    assert {other for other in others if HEIGHT[other] >= HEIGHT[part]} == set()
