"""Libraries that were built with a sanitizer of GCC or Clang: what they need of the process that opens them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SLOWER", "environment", "headline"]

#: How much longer a check may take.
SLOWER = 4.0

_RUNTIME = re.compile(r"lib(clang_rt\.)?(asan|tsan|msan|hwasan)\b.*")
#: Python leaves much behind when it ends, and memory that is kept to find errors would look like growth.
_OPTIONS = "detect_leaks=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64:print_legend=0:color=never"
_HEADLINE = re.compile(r"SUMMARY: \w*Sanitizer|ERROR: \w*Sanitizer|runtime error: ")


def environment(needed: Iterable[str]) -> dict[str, str]:
    """Returns the variables that a process needs before it opens a library.

    Args:
        needed: The libraries that it is linked to. The runtime of a sanitizer among them has to be in the process
            before anything else is.
    """
    runtimes = [name for name in needed if _RUNTIME.fullmatch(name)]
    if not runtimes:
        return {}
    options = dict.fromkeys(("ASAN_OPTIONS", "TSAN_OPTIONS"), _OPTIONS)
    return {**options, "UBSAN_OPTIONS": "print_stacktrace=1", "LD_PRELOAD": ":".join(runtimes)}


def headline(lines: list[str]) -> list[str]:
    """Returns of what a sanitizer wrote the lines that tell what it found, or all lines if it wrote none."""
    return [line for line in lines if _HEADLINE.search(line)] or lines
