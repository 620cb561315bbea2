"""Support for libraries built with a sanitizer of GCC or Clang."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SLOWER", "environment", "headline"]

#: The factor by which the time limit of a check is extended.
SLOWER = 4.0

_RUNTIME = re.compile(r"lib(clang_rt\.)?(asan|tsan|msan|hwasan)\b.*")
#: Python itself leaks at exit, and memory that a sanitizer quarantines would look like growth.
_OPTIONS = "detect_leaks=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64:print_legend=0:color=never"
_HEADLINE = re.compile(r"SUMMARY: \w*Sanitizer|ERROR: \w*Sanitizer|runtime error: ")


def environment(needed: Iterable[str]) -> dict[str, str]:
    """Returns the environment variables that a process needs before it opens a library.

    Args:
        needed: The libraries that it is linked to. A sanitizer runtime among them must be loaded first.
    """
    runtimes = [name for name in needed if _RUNTIME.fullmatch(name)]
    if not runtimes:
        return {}
    options = dict.fromkeys(("ASAN_OPTIONS", "TSAN_OPTIONS"), _OPTIONS)
    return {**options, "UBSAN_OPTIONS": "print_stacktrace=1", "LD_PRELOAD": ":".join(runtimes)}


def headline(lines: list[str]) -> list[str]:
    """Returns the lines in which a sanitizer states its findings, or all lines if there are none."""
    return [line for line in lines if _HEADLINE.search(line)] or lines
