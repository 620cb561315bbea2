"""Makes text from outside safe to print: a plugin, a file or a client cannot forge a log line or steer a terminal."""

from __future__ import annotations

import re

__all__ = ["MAX_CHARACTERS", "UNPRINTABLE", "printable"]

#: The maximum length of a printed text, in characters.
MAX_CHARACTERS = 8192

#: Control characters except the tab, line and paragraph separators, and the characters that reorder a line (Unicode
#: Standard Annex 9, the "Trojan Source" characters), and halves of surrogate pairs.
UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, most: int = MAX_CHARACTERS) -> str:
    r"""Returns a text as one printable line.

    Args:
        text: The text.
        most: The maximum length in characters; what follows is replaced by its length.

    Returns:
        The text, with control characters as escape sequences of Python: ``\n``, ``\x1b``, ``\u2028``.
    """
    if len(text) > most:
        text = f"{text[:most]}... ({len(text) - most:,} more characters)"
    return text if text.isprintable() else UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
