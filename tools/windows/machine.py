"""The Windows environment under Wine: Python, packages and compilers, set up once and kept."""

from __future__ import annotations

from pathlib import Path

from tools.steps import set_up
from tools.windows import binaries, python, wine
from tools.windows.wine import CACHE

__all__ = ["make"]

#: The files that set it up.
_MAKERS = ("bcryptprimitives.c", "binaries.py", "forward.c", "forward.py", "python.py", "wine.py")


def make() -> None:
    """Sets up the environment, unless it is up to date."""
    steps = {
        "Wine's prefix": wine.make_prefix,
        "CPython": python.install_python,
        "wheels": python.install_packages,
        "compilers": binaries.build_tools,
    }
    makers = [Path(__file__).with_name(name) for name in _MAKERS]
    words = "Wine and Python for Windows, which takes a few minutes and 1 GB"
    set_up(CACHE / "made-from", words, steps, *makers, *python.needed("test"), wine.version())
