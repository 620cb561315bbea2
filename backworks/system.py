"""What each operating system writes differently: commands as people type them, and the words for its errors."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_typed", "program_of", "system_words"]


def as_typed(arguments: Sequence[str]) -> str:
    """Writes a command so that it can be typed again."""
    return subprocess.list2cmdline(arguments) if sys.platform == "win32" else shlex.join(arguments)


def program_of(command: str) -> str:
    """Returns the first word of a command: on Windows a backslash is a part of it, and no quote."""
    if sys.platform == "win32":
        return shlex.split(command, posix=False)[0].strip('"')
    return shlex.split(command)[0]


def system_words(number: int) -> str:
    """Returns the words for an error number of the system: on Windows its own, which its C library does not know."""
    if sys.platform == "win32":
        import ctypes

        return ctypes.FormatError(number).strip().rstrip(".")
    return os.strerror(number)
