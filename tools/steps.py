"""One step of a set-up: how it is run, and how one that failed is told. For the scripts in the folders here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["ROOT", "Failed", "cache", "fail", "install", "run"]

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


def install(packages: dict[str, str]) -> None:
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
