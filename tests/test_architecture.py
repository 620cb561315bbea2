"""The code keeps the rules of docs/architecture.md, and what the page says about the code is true."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "backworks"
NATIVE = ROOT / "native"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```text.*\n((?s:.*?))^```$", PAGE, re.MULTILINE)

#: The blocks of the page, in their order.
TREE, LAYERS, _STARTING, _CALL = BLOCKS

#: Part of the package -> its layer; the lowest is 0.
HEIGHT = {part: height for height, line in enumerate(reversed(LAYERS.splitlines())) for part in line.split()}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__"))
EXTENSION = sorted(path for part in ("binding", "fastpath") for path in (NATIVE / part).glob("*.[ch]"))

#: Takes what the extension needs from Python modules, once, when it is imported.
AT_IMPORT = [NATIVE / "binding" / "module.c"]


def name_of(path: Path) -> str:
    """Returns a path as the page writes it."""
    return path.relative_to(ROOT).as_posix()


# The parts


def listed() -> set[str]:
    """Returns the files in the tree of the page."""
    files: set[str] = set()
    directories: list[str] = []
    for line in TREE.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for word in line.split():
            if re.fullmatch(r"\w+/", word):
                directories[depth:] = [word]
            elif re.fullmatch(r"\w+\.(py|c|h|md)", word):
                files.add("".join(directories[:depth]) + word)
            else:
                break
    return files


def test_tree() -> None:
    """The page lists every module of the checkout, and nothing that is not there."""
    python = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" and "templates" not in path.parts]
    native = [path for path in NATIVE.rglob("*.*") if path.suffix != ".h" or not path.with_suffix(".c").exists()]

    assert listed() == set(map(name_of, [*python, *native]))


# The layers


def part_of(path: Path) -> str:
    """Returns the part of the package that a module belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yields the modules that a program imports, at the start or later, except those that only type checkers see."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            todo += ast.iter_child_nodes(node)


def test_layers() -> None:
    """Each part of the package has a layer on the page, and each layer on the page has its parts."""
    assert set(HEIGHT) == set(map(part_of, MODULES))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    """A module imports only its own part and those in lower layers."""
    names = imports(ast.parse(path.read_text(encoding="utf-8")))
    parts = {part for name in names for part in re.findall(r"^backworks\.(\w+)", name) if part in HEIGHT}

    assert {part for part in parts - {part_of(path)} if HEIGHT[part] >= HEIGHT[part_of(path)]} == set()


# C


@pytest.mark.parametrize("path", [path for path in EXTENSION if path not in AT_IMPORT], ids=name_of)
def test_c_calls_no_method_by_name(path: Path) -> None:
    """C calls what it was given, and looks up nothing in a Python object by its name."""
    found = re.findall(r"\bPyObject_(?:CallMethod|VectorcallMethod|GetAttr)\w*", path.read_text(encoding="utf-8"))

    assert found == []


# What the page names


@cache
def defined(file: str) -> set[str]:
    """Returns the functions and classes that a file defines; methods with their class."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if not file.endswith(".py"):
        return set(re.findall(r"^(\w+)\(", text, re.MULTILINE))
    names: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            names |= {node.name, *(f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name"))}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize("journey", ["Starting a plugin", "One call"])
def test_journey(journey: str) -> None:
    """Each function that a journey names is in the file that it names."""
    section = PAGE.partition(f"\n## {journey}\n")[2].partition("\n## ")[0]
    steps = re.findall(r"^\| `(\S+?)` \| (.*?) \|", section, re.MULTILINE)
    named = [(file, name) for file, names in steps for name in re.findall(r"`(.+?)`", names)]

    assert len(steps) > 10
    assert [(file, name) for file, name in named if name not in defined(file)] == []


def test_files() -> None:
    """Each file and directory that the page names with its path exists."""
    paths = re.findall(r"`((?:backworks|native|sdk|tests|docs)/.*?|CMakeLists.txt)`", PAGE)

    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_classes() -> None:
    """Each class and method that the page names, in text and diagrams, exists."""
    known = {name for path in MODULES for name in defined(name_of(path))}
    named = re.findall(r"\b[A-Z]\w*[a-z]\w*\.[a-z_]\w*|\b(?:[A-Z][a-z]+){2,}\b", PAGE)

    assert sorted(set(named) - known - {"CMakeLists.txt"}) == []
