"""A run without some tool: with CI=true it fails, elsewhere it says at its end what was left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run_without_tools(directory: Path, *options: str, ci: bool) -> subprocess.CompletedProcess[str]:
    """Runs the tests of the header with a PATH on which nothing is."""
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "tests/test_header.py::TestCompilers"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST_"))}
    environment |= {"PATH": str(directory)} | ({"CI": "true"} if ci else {})
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("options", [(), ("--numprocesses", "2")], ids=["one process", "several"])
def test_table(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The table has each tool, the number of tests that want it, and how to install it."""
    done = run_without_tools(tmp_path, *options, ci=False)
    table = done.stdout.partition("left out for want of a tool")[2].strip("= \n").splitlines()[:5]

    assert done.returncode == 0
    assert [line.split() for line in table] == [
        ["tool", "tests", "how", "to", "install", "it", "on", "Debian"],
        ["clang", "4", "apt", "install", "clang"],
        ["clang++", "8", "apt", "install", "clang"],
        ["g++", "8", "apt", "install", "g++"],
        ["gcc", "4", "apt", "install", "gcc"],
    ]


def test_all_are_promised(tmp_path: Path) -> None:
    """With CI=true each of these tests fails."""
    done = run_without_tools(tmp_path, ci=True)

    assert done.returncode == 1
    assert "gcc is not installed" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]
