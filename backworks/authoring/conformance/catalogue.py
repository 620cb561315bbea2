"""The list of all checks, and the decorator that adds a function to it."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.authoring.conformance.subject import Subject

__all__ = ["GROUPS", "Check", "catalogue", "check"]

#: The groups and their modules, in listing order.
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
    """One requirement of the contract.

    Attributes:
        id: The name of the check.
        group: The group that it belongs to.
        holds: What holds for a conforming plugin, in one sentence.
        source: The words of ``backworks_plugin.h`` that require it.
        function: Takes the plugin, and returns what was tried or raises a verdict.
        needs: The checks that must pass first for this one to be meaningful.
        exits: Whether the process exits through exit handlers and destructors.
        in_process: Whether the check concerns libraries that share a process with others; it is skipped for a plugin
            whose manifest allows only isolation process.
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
    """Adds a function to the list; its docstring becomes ``holds`` and its name ``id``. See :class:`Check`."""

    def add(function: Callable[[Subject], str]) -> Callable[[Subject], str]:
        name = function.__name__.replace("_", "-")
        _found[name] = Check(name, group, function.__doc__ or "", source, function, needs, exits, in_process)
        return function

    return add


@functools.cache
def catalogue() -> dict[str, Check]:
    """Returns all checks by id, in the order of their groups."""
    for module in _MODULES.values():
        importlib.import_module(f"backworks.authoring.conformance.checks.{module}")
    return {check.id: check for check in sorted(_found.values(), key=lambda check: GROUPS.index(check.group))}
