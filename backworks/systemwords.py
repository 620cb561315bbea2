"""What the system says of its own error numbers."""

from __future__ import annotations

import os
import sys

__all__ = ["system_words"]


def system_words(number: int) -> str:
    """Returns the words for an error number of the system: on Windows its own, which its C library does not know."""
    if sys.platform == "win32":
        import ctypes

        return ctypes.FormatError(number).strip().rstrip(".")
    return os.strerror(number)
