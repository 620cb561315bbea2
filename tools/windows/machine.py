"""The machine with Windows that Wine makes: its Python, packages and compilers, made once and kept."""

from __future__ import annotations

from pathlib import Path

from tools.steps import set_up
from tools.windows import binaries, python, wine
from tools.windows.wine import CACHE

__all__ = ["make"]

#: What it is made by.
_MAKERS = ("bcryptprimitives.c", "binaries.py", "forward.c", "forward.py", "python.py", "wine.py")


def make() -> None:
    """Makes it, unless it is there and was made from the same."""
    steps = {
        "Wine's prefix": wine.make_prefix,
        "CPython": python.install_python,
        "wheels": python.install_packages,
        "compilers": binaries.build_tools,
    }
    makers = [Path(__file__).with_name(name) for name in _MAKERS]
    words = "Wine and Windows' Python: some minutes and 1 GB"
    set_up(CACHE / "made-from", words, steps, *makers, *python.needed("test"), wine.version())
