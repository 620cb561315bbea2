"""``${NAME}`` and ``${NAME:-default}`` in the text of a configuration."""

from __future__ import annotations

import os
import re

__all__ = ["VariableError", "expand", "is_one_variable"]

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\{))"
)


class VariableError(Exception):
    """A variable cannot be expanded; the text says why."""


def expand(text: str) -> str:
    """Puts the environment into a text.

    ``${NAME}`` is the variable's value, which must be set, though it may be empty. ``${NAME:-default}`` is
    the default where the variable is unset or empty, as in a shell. ``$$`` is one dollar sign; a dollar sign
    before anything else stands for itself. What comes out is not expanded again.

    Raises:
        VariableError: A variable without a default is not set, or ``${`` begins none.
    """
    return _VARIABLE.sub(_value, text)


def is_one_variable(text: str) -> bool:
    """Tells whether a text is one variable and nothing else."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and match["name"] is not None


def _value(match: re.Match[str]) -> str:
    if match["dollar"]:
        return "$"
    if match["broken"]:
        raise VariableError(
            f"found {match.string[match.start() :][:40]!r}, accepted ${{NAME}}, ${{NAME:-default}}, "
            "or $${ for the characters themselves"
        )
    name, default = match["name"], match["default"]
    value = os.environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise VariableError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    return value
