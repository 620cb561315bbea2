"""Commands as people type them: for ``sh``, and on Windows for ``cmd``."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_typed", "program_of"]


def as_typed(arguments: Sequence[str]) -> str:
    """Writes a command so that it can be typed again."""
    return subprocess.list2cmdline(arguments) if sys.platform == "win32" else shlex.join(arguments)


def program_of(command: str) -> str:
    """Returns the first word of a command: on Windows a backslash is a part of it, and no quote."""
    if sys.platform == "win32":
        return shlex.split(command, posix=False)[0].strip('"')
    return shlex.split(command)[0]
