"""Builds the documentation: ``python tools/site``, run by ``make docs``. A warning or a broken link fails it."""

from __future__ import annotations

import sys
from pathlib import Path

from assemble import assemble
from building import make_pages

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    """Builds into build/docs, says where the first page is, and returns the exit code."""
    build = ROOT / "build" / "docs"
    assemble(ROOT, build / "source")
    code = make_pages(build)
    if code == 0:
        print(f"The site begins at {build / 'html' / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
