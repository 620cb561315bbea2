"""Differences in how operating systems write commands and describe errors."""

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
    """Returns a command quoted for the shell."""
    return subprocess.list2cmdline(arguments) if sys.platform == "win32" else shlex.join(arguments)


def program_of(command: str) -> str:
    """Returns the first word of a command; on Windows a backslash is an ordinary character."""
    if sys.platform == "win32":
        return shlex.split(command, posix=False)[0].strip('"')
    return shlex.split(command)[0]


def system_words(number: int) -> str:
    """Returns the message for a system error number; on Windows a Win32 error, which the C library does not know."""
    if sys.platform == "win32":
        import ctypes

        return ctypes.FormatError(number).strip().rstrip(".")
    return os.strerror(number)
