"""What ``import backworks`` offers and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CompilePlugin

import backworks

#: Packages that a plain import must not pull in: they are for configurations, servers, tables and schemas.
HEAVY = {
    "yaml",
    "pydantic",
    "click",
    "rich",
    "starlette",
    "uvicorn",
    "cffi",
    "jsonschema",
    "prometheus_client",
    "asyncio",
}

WITH_CLICK = "from backworks.cli import main; main(['--version'], prog_name='backworks')"


def test_all() -> None:
    """``__all__`` is sorted, and every name in it is there; nothing else is offered."""
    assert backworks.__all__ == sorted(backworks.__all__)
    for name in backworks.__all__:
        assert getattr(backworks, name) is not None
    assert set(backworks._HOMES) == set(backworks.__all__) - {"__version__"}
    assert dir(backworks) == sorted(backworks.__all__)


def test_type_checkers_see_the_same() -> None:
    """What is imported for type checkers is what is imported on demand, from the same modules."""
    tree = ast.parse(Path(backworks.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: str(node.module).removeprefix("backworks.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("backworks.")
        for alias in node.names
    }

    assert seen == backworks._HOMES


def test_unknown_name() -> None:
    """A name that there is not is an AttributeError like any module's."""
    with pytest.raises(AttributeError, match="module 'backworks' has no attribute 'laod'"):
        backworks.laod  # noqa: B018


def imported(program: str) -> set[str]:
    """Returns the packages that a program has imported at its end."""
    code = f"import sys; {program}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import backworks", "from backworks import load, PluginError, Plugin"])
def test_light_import(statement: str) -> None:
    """The package, and what one plugin takes, pull in nothing that is only for configurations or servers."""
    assert imported(statement) & HEAVY == set()


def test_light_load(compile_plugin: CompilePlugin) -> None:
    """A plugin in the calling thread pulls in none of that either; only a schema in its manifest needs a checker."""
    assert imported(f"import backworks; backworks.load({str(compile_plugin())!r}).close()") & HEAVY == set()


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("backworks", {"backworks"}),
        ("backworks.errors", {"backworks", "backworks.errors", "backworks.printable"}),
    ],
)
def test_own_modules(module: str, own: set[str]) -> None:
    """The package imports none of its modules, and its errors only what makes their text printable."""
    code = f"import sys, {module}; print(*[name for name in sys.modules if 'backworks' in name])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )

    assert {name for name in done.stdout.split() if name.partition(".")[0] == "backworks"} == own


def test_version() -> None:
    """The command tells the version, in click's words, before it imports anything for it."""
    code = (
        "import sys; sys.argv[1:] = ['--version']; from backworks.__main__ import main; main(); "
        "print(*[name for name in sys.modules if name.partition('.')[0] in ('click', 'backworks')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    whole = subprocess.run([sys.executable, "-c", WITH_CLICK], capture_output=True, text=True, check=True)
    told, modules = done.stdout.splitlines()

    assert told == f"backworks, version {backworks.__version__}"
    assert told == whole.stdout.strip()
    assert set(modules.split()) == {"backworks", "backworks.__main__"}
