"""Builds the pages with Sphinx, strictly and offline."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_pages"]

#: Warnings are errors, all of them are reported, and unresolved names in docstrings are warnings.
_STRICT = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet")


def make_pages(build: Path) -> int:
    """Builds the pages in ``html`` from those in ``source``.

    Args:
        build: The directory that contains both.

    Returns:
        The exit code; if it is not 0, the errors are on stderr.
    """
    places = ["--doctree-dir", str(build / "doctrees"), str(build / "source"), str(build / "html")]
    return subprocess.call([sys.executable, "-m", "sphinx", *_STRICT, *places])
