"""Expands ``${NAME}`` and ``${NAME:-default}`` in the text of a configuration."""

from __future__ import annotations

import os
import re

__all__ = ["VariableError", "expand", "is_one_variable"]

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\{))"
)


class VariableError(Exception):
    """A variable cannot be expanded; the message gives the reason."""


def expand(text: str) -> str:
    """Expands the environment variables in a text.

    ``${NAME}`` expands to the variable's value; the variable must be set, but may be empty. ``${NAME:-default}``
    expands to the default if the variable is unset or empty, as in a shell. ``$$`` is one dollar sign; a dollar sign
    before anything else stands for itself. The result is not expanded again.

    Raises:
        VariableError: A variable without a default is not set, a default contains another variable, or ``${`` does
            not start a valid variable.
    """
    return _VARIABLE.sub(_value, text)


def is_one_variable(text: str) -> bool:
    """Returns whether a text consists of exactly one variable."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and match["name"] is not None


def _value(match: re.Match[str]) -> str:
    if match["dollar"]:
        return "$"
    if match["broken"]:
        raise VariableError(
            f"a variable must be ${{NAME}} or ${{NAME:-default}}, not {match.string[match.start() :][:40]!r}; "
            "write $${ for a literal ${"
        )
    name, default = match["name"], match["default"]
    if "${" in (default or ""):
        raise VariableError(f"the default of ${{{name}}} cannot contain another variable; write its text instead")
    value = os.environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise VariableError(f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
    return value
