"""Semantic versions (https://semver.org, 2.0.0): grammar and order."""

from __future__ import annotations

import re

__all__ = ["SEMVER", "version_key"]

_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRERELEASE = rf"(?:{_NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_BUILD = r"[0-9a-zA-Z-]+"

SEMVER = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    rf"(?:-({_PRERELEASE}(?:\.{_PRERELEASE})*))?"
    rf"(?:\+{_BUILD}(?:\.{_BUILD})*)?"
)

#: A number without leading zeros, as its length and digits. These pairs sort like the numbers, of any length, while
#: ``int()`` rejects more than a few thousand digits.
_Number = tuple[int, str]


def version_key(version: str | None) -> tuple[object, ...]:
    """Returns a sort key for the precedence of versions.

    Args:
        version: A version, or ``None`` if it is unknown. Unknown and invalid versions sort below all others.
    """
    match = SEMVER.fullmatch(version or "")
    if match is None:
        return ()
    numbers = tuple(_number(part) for part in match.group(1, 2, 3))
    prerelease = match.group(4)
    if prerelease is None:
        return (*numbers, (1,))
    return (*numbers, (0, *(_identifier(part) for part in prerelease.split("."))))


def _number(digits: str) -> _Number:
    return len(digits), digits


def _identifier(text: str) -> tuple[int, _Number | str]:
    # Numbers sort below words (semver.org, 11.4.3); numbers compare numerically, words by their bytes.
    return (0, _number(text)) if text.isdigit() else (1, text)
