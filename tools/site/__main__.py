"""Builds the documentation: ``python tools/site``, run by ``make docs``. A warning or broken link is a failure."""

from __future__ import annotations

import sys
from pathlib import Path

from assemble import assemble
from building import make_pages

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    """Builds into build/docs and prints the path of the first page; returns the exit code."""
    build = ROOT / "build" / "docs"
    assemble(ROOT, build / "source")
    code = make_pages(build)
    if code == 0:
        print(f"Open {build / 'html' / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
