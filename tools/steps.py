"""One step of a set-up: how it is run, and how one that failed is told. For the scripts in the folders here."""

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
    """Returns a folder outside of the repository: `make clean` leaves it alone, and several checkouts share it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / name


class Failed(Exception):
    """A step that failed, in one sentence."""


def fail(text: str) -> NoReturn:
    """Ends with one sentence."""
    raise Failed(text)


def run(*command: str | Path, what: str, **more: object) -> str:
    """Runs a program.

    Args:
        command: The program and its arguments.
        what: What does not work if it fails.
        more: More for :func:`subprocess.run`.

    Returns:
        What it printed.
    """
    line = [str(part) for part in command]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        fail(f"{what}: {' '.join(line[:4])} … failed; its own words are above")
    return str(done.stdout)


def install_debian(packages: dict[str, str]) -> None:
    """Installs packages of Debian, if a program of theirs is not there.

    Args:
        packages: A program's name, or the path of a file -> the package that has it.
    """
    absent = [package for name, package in packages.items() if not (shutil.which(name) or Path(name).is_file())]
    if not absent:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        fail(f"{' and '.join(absent)} not installed. On Debian and Ubuntu: apt install {' '.join(absent)}")
    noninteractive = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *absent]
    run("apt-get", "update", "--quiet", what="no list of packages", env=noninteractive)
    run(*apt, what=f"{' and '.join(absent)} not installed", env=noninteractive)


def requirements(*groups: str, without: Container[str]) -> list[str]:
    """Returns the packages that Backworks and groups of pyproject.toml need, whatever system they are for.

    Args:
        groups: The groups' names.
        without: Names of packages that are left out.
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
    """Takes the steps of a set-up, unless they were taken before from the same.

    Args:
        stamp: The file that says what it was made from.
        words: What is set up.
        steps: What a step makes -> the step.
        sources: What it is made from: files, and texts.
    """
    all_sources = (Path(__file__), sys.executable, *sources)
    parts = [source.encode() if isinstance(source, str) else source.read_bytes() for source in all_sources]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    if stamp.exists() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    print(f"Setting up {words}, once.", flush=True)
    for made, step in steps.items():
        started = time.monotonic()
        step()
        print(f"  {made}: {time.monotonic() - started:.0f} s", flush=True)
    stamp.write_text(key)


def copy_checkout(tree: Path) -> None:
    """Copies what git knows or would know of the checkout; what was built in the copy stays."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard", what="no list of the files")
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
