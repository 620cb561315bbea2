"""Has Sphinx make pages of the sources: strictly, and with nothing fetched."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_pages"]

#: A warning is an error, all of them are told, and a name in a docstring that leads nowhere is one.
_STRICT = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet")


def make_pages(build: Path) -> int:
    """Makes ``html`` in a directory of the ``source`` in it.

    Args:
        build: The directory.

    Returns:
        The exit code; with one above 0, stderr has said why.
    """
    places = ["--doctree-dir", str(build / "doctrees"), str(build / "source"), str(build / "html")]
    return subprocess.call([sys.executable, "-m", "sphinx", *_STRICT, *places])
