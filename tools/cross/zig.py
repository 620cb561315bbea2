"""Zig as a cross-compiler, in the form that builds expect: programs named cc, ar and ranlib."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tools.steps import cache, fail

__all__ = ["CACHE", "environment", "tools"]

#: The directory for builds for other systems, and for their tools.
CACHE = cache("backworks-cross")

#: Zig's cache of each system's C library, which takes up to a minute to build.
_KEPT = CACHE / "zig"


def _zig() -> Path:
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        fail("the Python package ziglang is not installed: make env")
    return Path(found.origin).with_name("zig")


def environment() -> dict[str, str]:
    """Returns the environment variables that set Zig's cache directories."""
    return {"ZIG_GLOBAL_CACHE_DIR": str(_KEPT), "ZIG_LOCAL_CACHE_DIR": str(_KEPT)}


def tools(target: str, *, more: str = "") -> Path:
    """Creates the programs.

    Args:
        target: Zig's name for the system.
        more: Shell commands to run after the compiler succeeds, with its arguments as ``$@``.

    Returns:
        The directory of the programs.
    """
    folder = CACHE / "tools" / target
    folder.mkdir(parents=True, exist_ok=True)
    keep = f"export ZIG_GLOBAL_CACHE_DIR='{_KEPT}' ZIG_LOCAL_CACHE_DIR='{_KEPT}'"
    for name in ("cc", "c++"):
        _program(folder / name, keep, _call(f'{name} -target {target} "$@"', more))
    for name in ("ar", "ranlib"):
        _program(folder / name, keep, _call(f'{name} "$@"'))
    _program(folder / "zig", f"export ZIG_GLOBAL_CACHE_DIR='{_KEPT}'", _call('"$@"', more))
    return folder


def _call(arguments: str, more: str = "") -> str:
    return f"'{_zig()}' {arguments} || exit\n{more}" if more else f"exec '{_zig()}' {arguments}"


def _program(path: Path, *lines: str) -> None:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o755)
