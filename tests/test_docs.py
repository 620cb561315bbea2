"""Runs README.md and the pages of docs/, block by block, as a reader would.

The first word after a fence gives the kind of the block; a second word names a file that the block is written to. The
blocks of a page run in order, in one directory that contains only the checkout's ``build``, ``examples`` and ``sdk``.

============== =========================================================================================
``console``    a session: one ``sh`` runs the lines that start with ``$ ``, with the environment's
               commands; lines that start with ``>`` continue them. The output must match the
               lines below, where ``...`` matches anything
``python``     is run; with prompts (``>>>``), its output is compared
``yaml``       is a valid configuration
``json``       is valid
``c``          is compiled with every warning as an error
``cpp``        the same, as C++
``rust``       is compiled against the SDK
``go``         is formatted like gofmt; a session builds it
``zig``        is valid Zig; a session builds it
``systemd``    is a unit that systemd accepts
``dockerfile`` has only valid instructions, and commands that ``backworks`` accepts
``nginx``      is a configuration that nginx accepts
``text``       is not run
``{...}``      is for Sphinx; test_site.py builds the site
============== =========================================================================================

Blocks that need gdb, nginx or systemd run only on Linux.
Any other kind, or a fence without one, is a failure, so that no block is skipped by mistake.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from click.testing import CliRunner
from conftest import missing

from backworks import cli
from backworks.config import load_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools" / "site"))  # not part of the package

from assemble import MADE  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Tools required only on Linux; elsewhere, a page with a session that uses one is skipped.
LINUX_TOOLS = {"gdb", "nginx"}

#: Tools that a page needs with a session that has the word, or a block of the kind: the program and what it is called.
TOOLS = {
    "curl": {"curl": "curl"},
    "cpp": {"c++": "a C++ compiler", "cmake": "CMake"},
    "go": {"gofmt": "Go"},
    "rust": {"cargo": "Rust's cargo"},
}

#: Printed between two commands of a session, to tell their output apart.
MARK = "=====8<====="

#: The crate for a Rust block.
CRATE = """
[package]
name = "block"
version = "1.0.0"
edition = "2021"
[lib]
crate-type = ["cdylib"]
[dependencies]
backworks-plugin-sdk = {{ path = {sdk} }}
[workspace]
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the sessions are written for a POSIX shell")


class Block(NamedTuple):
    """One fenced block."""

    kind: str
    file: str | None
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """Yields the fenced blocks of a page, with the number of their first line."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        kind, _, file = match[1].strip().partition(" ")
        yield Block(kind, file or None, match[2], text.count("\n", 0, match.start()) + 2)


def environment(directory: Path) -> dict[str, str]:
    """Returns the variables of a reader's shell: with the environment's commands, without colours or CI."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "FORCE_COLOR"}}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    cargo = {"CARGO_TARGET_DIR": str(ROOT / "build" / "cargo")}
    return kept | cargo | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8", "PWD": str(directory)}


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command in the page's directory, with its output in one stream."""
    return subprocess.run(
        command,
        cwd=directory,
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )


def console(block: Block, directory: Path) -> None:
    """Runs the session, and compares the output of each command."""
    parts = re.findall(r"^\$ (.*\n(?:>(?: .*)?\n)*)((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)
    assert block.text.startswith("$ "), "a session must start with a command"
    commands = [re.sub(r"\n> ?", "\n", command).rstrip("\n") for command, _ in parts]
    # The marker must not change $?, which a session may show.
    marked = (f"{command}\n(code=$?; echo {shlex.quote(MARK)}; exit $code)\n" for command in commands)
    # Background processes end with the session.
    script = "trap 'kill $! 2>/dev/null' EXIT\n" + "".join(marked)

    printed = run(["sh", "-c", script], directory).stdout.split(f"{MARK}\n")

    checker = doctest.OutputChecker()
    for command, want, output in zip(commands, (want for _, want in parts), printed, strict=False):
        got = output if output.endswith("\n") or not output else f"{output}\n"
        example = doctest.Example(command, want)
        fine = checker.check_output(want, got, doctest.ELLIPSIS)
        assert fine, f"$ {command}\n{checker.output_difference(example, got, doctest.REPORT_NDIFF)}"
    assert len(printed) == len(commands) + 1, "the shell has ended before the session has"


def succeeds(command: list[str], directory: Path) -> None:
    """Runs a command, which must succeed."""
    done = run(command, directory)
    assert done.returncode == 0, done.stdout


def python(block: Block, directory: Path) -> None:
    """Runs the block as a separate program."""
    file = directory / (block.file or "block.txt")
    file.write_text(block.text, encoding="utf-8")
    compared = ["-m", "doctest", "-o", "ELLIPSIS"] if block.text.startswith(">>>") else []
    succeeds([sys.executable, *compared, str(file)], directory)


def yaml(block: Block, directory: Path) -> None:
    """Loads the block as a configuration."""
    file = directory / (block.file or "block.yaml")
    file.write_text(block.text, encoding="utf-8")
    load_config(file)


def c(block: Block, directory: Path) -> None:
    """Compiles the block."""
    file = directory / (block.file or "block.c")
    file.write_text(block.text, encoding="utf-8")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    options = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    succeeds([*compiler, *options, "-I", str(ROOT / "sdk" / "c"), str(file)], directory)


def cpp(block: Block, directory: Path) -> None:
    """Compiles the block."""
    file = directory / (block.file or "block.cpp")
    file.write_text(block.text, encoding="utf-8")
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    options = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    kits = [f"-I{ROOT / 'sdk' / kit}" for kit in ("c", "cpp")]
    succeeds([*compiler, *options, *kits, str(file)], directory)


def go(block: Block, directory: Path) -> None:
    """Parses the block, and compares it with how gofmt would write it."""
    assert block.file
    formatted = run(["gofmt", block.file], directory).stdout
    assert formatted == block.text


def zig(block: Block, directory: Path) -> None:
    """Parses the block."""
    assert block.file
    succeeds([sys.executable, "-m", "ziglang", "ast-check", block.file], directory)


def rust(block: Block, directory: Path) -> None:
    """Compiles the block as the library of a crate that depends only on the SDK."""
    crate = directory / "block"
    (crate / "src").mkdir(parents=True, exist_ok=True)
    (crate / "src" / "lib.rs").write_text(block.text, encoding="utf-8")
    (crate / "Cargo.toml").write_text(CRATE.format(sdk=json.dumps(str(ROOT / "sdk" / "rust"))), encoding="utf-8")
    succeeds(["cargo", "check", "--quiet", "--manifest-path", str(crate / "Cargo.toml")], directory)


def systemd(block: Block, directory: Path) -> None:
    """Verifies the unit with systemd, using the commands of this environment instead of the deployed ones."""
    need("systemd-analyze")
    file = directory / (block.file or "block.service")
    here = f"={Path(sys.executable).parent}/"
    file.write_text(re.sub(r"=/opt/\S+/bin/", here, block.text), encoding="utf-8")
    succeeds(["systemd-analyze", "verify", "--man=no", str(file)], directory)


def nginx(block: Block, directory: Path) -> None:
    """Verifies the configuration with nginx."""
    need("nginx")
    assert block.file
    succeeds(["nginx", "-t", "-p", str(directory), "-c", block.file], directory)


def dockerfile(block: Block, directory: Path) -> None:
    """Checks what can be checked without a container: the instructions, and the commands."""
    lines = block.text.replace("\\\n", "").splitlines()
    instructions = [line.split(None, 1) for line in lines]
    known = {"CMD", "COPY", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "USER", "WORKDIR"}
    assert {name for name, _ in instructions} <= known
    assert instructions[0][0] == "FROM"
    for name, arguments in instructions:
        if name == "CMD":
            program, *rest = json.loads(arguments)
            # --help comes last and ends the command, after every option before it was read.
            done = CliRunner().invoke(cli.main, [*rest, "--help"])
            assert (program, done.exit_code) == ("backworks", 0), done.output
        elif name == "HEALTHCHECK":
            program, flag, code = json.loads(arguments.removeprefix("CMD "))
            assert (program, flag) == ("python", "-c")
            compile(code, block.file or name, "exec")


def need(tool: str) -> None:
    """Skips or fails the test if a tool is not available."""
    if sys.platform != "linux":
        pytest.skip(f"{tool} is for Linux")
    if shutil.which(tool) is None:
        missing(tool)


KINDS: dict[str, Callable[[Block, Path], None]] = {
    "c": c,
    "console": console,
    "cpp": cpp,
    "dockerfile": dockerfile,
    "go": go,
    "json": lambda block, _: json.loads(block.text),
    "nginx": nginx,
    "python": python,
    "rust": rust,
    "systemd": systemd,
    "text": lambda *_: None,
    "yaml": yaml,
    "zig": zig,
    "{eval-rst}": lambda *_: None,
    "{toctree}": lambda *_: None,
}


def name_of(page: Path) -> str:
    """Returns the name of a page for its test."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page(page: Path, tmp_path: Path) -> None:
    """Every block of the page works as shown."""
    for name in ("build", "examples", "sdk"):
        (tmp_path / name).symlink_to(ROOT / name)
    sessions = "".join(block.text for block in blocks(page) if block.kind == "console")
    words = set(re.findall(r"\w+", "".join(re.findall(r"^[$>] .*", sessions, re.MULTILINE))))
    for tool in LINUX_TOOLS & words:
        need(tool)
    for word in TOOLS.keys() & (words | {block.kind for block in blocks(page)}):
        for program, tool in TOOLS[word].items():
            if shutil.which(program, path=environment(tmp_path)["PATH"]) is None:
                missing(tool)
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        assert block.kind in KINDS, f"{where}: a block of kind {block.kind!r}; there are {', '.join(KINDS)}"
        if block.file:
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        try:
            KINDS[block.kind](block, tmp_path)
        except Exception as error:
            error.add_note(f"in the block at {where}")
            raise


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page: Path) -> None:
    """Every link of the page to a file leads to one in the checkout, or to a generated page."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))

    absent = [target for target in targets if not (page.parent / target).exists() and target not in MADE]

    assert absent == []
