"""The list of all checks, and the decorator that puts a function on it."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.authoring.conformance.subject import Subject

__all__ = ["GROUPS", "Check", "catalogue", "check"]

#: The groups and their modules, in the order in which they are listed.
_MODULES = {
    "metadata": "metadata",
    "loading": "loading",
    "life-cycle": "lifecycle",
    "strings": "strings",
    "errors": "errors",
    "memory": "memory",
    "threads": "threads",
    "time": "timing",
    "hygiene": "hygiene",
}
GROUPS = tuple(_MODULES)

_found: dict[str, Check] = {}


@dataclass(frozen=True)
class Check:
    """One thing that a plugin is held to.

    Attributes:
        id: Its name.
        group: The group that it is listed in.
        holds: What is true of a good plugin, in one sentence.
        source: The words of ``backworks_plugin.h`` that ask for it.
        function: Takes the plugin, returns what was tried, or raises a verdict.
        needs: The checks that must have passed, or it could tell nothing.
        exits: Whether its process ends by way of everybody's exit handlers and destructors.
        in_process: Whether it tells of a library that shares its process with others, so that one whose manifest
            allows only processes of its own is not held to it.
    """

    id: str
    group: str
    holds: str
    source: str
    function: Callable[[Subject], str]
    needs: tuple[str, ...]
    exits: bool
    in_process: bool


def check(
    group: str, source: str, *, needs: tuple[str, ...] = ("answers",), exits: bool = False, in_process: bool = False
) -> Callable[[Callable[[Subject], str]], Callable[[Subject], str]]:
    """Puts a function on the list; its docstring is the sentence, its name the id. See :class:`Check`."""

    def add(function: Callable[[Subject], str]) -> Callable[[Subject], str]:
        name = function.__name__.replace("_", "-")
        _found[name] = Check(name, group, function.__doc__ or "", source, function, needs, exits, in_process)
        return function

    return add


@functools.cache
def catalogue() -> dict[str, Check]:
    """Returns all checks by their ids, group by group."""
    for module in _MODULES.values():
        importlib.import_module(f"backworks.authoring.conformance.checks.{module}")
    return {check.id: check for check in sorted(_found.values(), key=lambda check: GROUPS.index(check.group))}
