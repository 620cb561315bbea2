"""Where everything is, and how a step that failed is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["CACHE", "C_DRIVE", "HERE", "PREFIX", "ROOT", "Failed", "fail", "run"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: Outside of the repository: `make clean` leaves it alone, and several checkouts share it.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "backworks-test-windows"
#: Wine's prefix, and what Windows calls C: there.
PREFIX = CACHE / "wine"
C_DRIVE = PREFIX / "drive_c"


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
