"""Modules of builtin plugins, which may be beside the configuration file."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path

__all__ = ["has_module", "import_object"]


def has_module(name: str, base: Path) -> bool:
    """Returns whether a module exists on Python's path or in a directory, without running any of it."""
    first, *rest = name.split(".")
    if name in sys.modules:
        return True
    spec = _spec(first, None) or PathFinder.find_spec(first, [os.fspath(base)])
    names = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return False
        names += f".{part}"
        spec = _spec(names, list(spec.submodule_search_locations))
    return spec is not None


def _spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Finds a module as ``import`` does, but does not import the packages that contain it."""
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def import_object(path: str, base: Path) -> Any:
    """Imports an object such as ``package.module:Name`` from Python's path, or from a directory.

    The directory stays on the path, because modules import others when they run; modules on the path take precedence.
    """
    module, _, attributes = path.partition(":")
    if os.fspath(base) not in sys.path:
        sys.path.append(os.fspath(base))
    found: Any = importlib.import_module(module)
    for name in attributes.split("."):
        found = getattr(found, name)
    return found
