"""Runs and reports setup steps, for the scripts in the directories here."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

__all__ = ["ROOT", "Failed", "cache", "copy_checkout", "fail", "install_debian", "requirements", "run", "set_up"]

ROOT = Path(__file__).resolve().parent.parent


def cache(name: str) -> Path:
    """Returns a directory outside the repository, which survives `make clean` and is shared by all checkouts."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / name


class Failed(Exception):
    """A failed step, described in one sentence."""


def fail(text: str) -> NoReturn:
    """Raises :exc:`Failed` with one sentence."""
    raise Failed(text)


def run(*command: str | Path, what: str, **more: object) -> str:
    """Runs a program.

    Args:
        command: The program and its arguments.
        what: What does not work if the program fails.
        more: More arguments for :func:`subprocess.run`.

    Returns:
        Its output.
    """
    line = [str(part) for part in command]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        fail(f"{what}: {' '.join(line[:4])} … failed; see its output above")
    return str(done.stdout)


def install_debian(packages: dict[str, str]) -> None:
    """Installs Debian packages whose programs are missing.

    Args:
        packages: The name of a program, or the path of a file -> the package that contains it.
    """
    absent = [package for name, package in packages.items() if not (shutil.which(name) or Path(name).is_file())]
    if not absent:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        fail(f"{' and '.join(absent)} not installed; on Debian and Ubuntu: apt install {' '.join(absent)}")
    noninteractive = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *absent]
    run("apt-get", "update", "--quiet", what="cannot update the list of packages", env=noninteractive)
    run(*apt, what=f"cannot install {' and '.join(absent)}", env=noninteractive)


def requirements(*groups: str, without: Container[str]) -> list[str]:
    """Returns the packages that Backworks and groups of pyproject.toml need, on any system.

    Args:
        groups: The names of the groups.
        without: The names of packages to exclude.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"]]
    for group in groups:
        wanted += _group(project["dependency-groups"], group)
    named = {re.match(r"[A-Za-z0-9._-]+", line)[0]: line.partition(";")[0] for line in wanted}  # type: ignore[index]
    return [line for name, line in named.items() if name not in without]


def _group(groups: Mapping[str, list[str | dict[str, str]]], name: str) -> Iterator[str]:
    for line in groups[name]:
        if isinstance(line, str):
            yield line
        else:
            yield from _group(groups, line["include-group"])


def set_up(stamp: Path, words: str, steps: Mapping[str, Callable[[], None]], *sources: Path | str) -> None:
    """Runs the steps of a setup, unless they have already run with the same sources.

    Args:
        stamp: The file that records the sources.
        words: A description of the setup.
        steps: The name of the result of each step -> the step.
        sources: The files and texts that the result depends on.
    """
    all_sources = (Path(__file__), sys.executable, *sources)
    parts = [source.encode() if isinstance(source, str) else source.read_bytes() for source in all_sources]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    if stamp.exists() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    print(f"Setting up {words}; only once.", flush=True)
    for made, step in steps.items():
        started = time.monotonic()
        step()
        print(f"  {made}: {time.monotonic() - started:.0f} s", flush=True)
    stamp.write_text(key)


def copy_checkout(tree: Path) -> None:
    """Copies the tracked and untracked files of the checkout, except ignored ones; keeps build/ in the copy."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard", what="cannot list the files")
    tree.mkdir(parents=True, exist_ok=True)
    for path in tree.iterdir():
        if not path.is_dir():
            path.unlink()
        elif path.name != "build":
            shutil.rmtree(path)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
