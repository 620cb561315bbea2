"""Runs the tests under Wine, with Windows' CPython: ``python tools/windows/test.py [ARGUMENTS OF PYTEST]``.

Run by ``make test-windows``. What it needs, it makes under ``$XDG_CACHE_HOME/backworks-test-windows``, or under
``~/.cache``, and keeps there; the tests themselves run in a copy of the checkout on the C: drive of Wine's prefix.
"""

from __future__ import annotations

import sys

import binaries
import python
import wine
from common import C_DRIVE, CACHE, HERE, Failed, copy_checkout, set_up

#: What the prefix is made by.
MAKERS = ("bcryptprimitives.c", "common.py", "forward.c", "forward.py", "python.py", "wine.py")
#: The checkout, as Windows sees it.
TREE = C_DRIVE / "backworks"


def main(arguments: list[str]) -> int | str:
    """Sets up, builds, and runs the tests."""
    steps = {
        "Wine's prefix": wine.make_prefix,
        "CPython": python.install_python,
        "wheels": python.install_packages,
        "compilers": binaries.build_tools,
    }
    try:
        words = "Wine and Windows' Python: some minutes and 1 GB"
        makers = [HERE / name for name in MAKERS]
        set_up(CACHE / "made-from", words, steps, *makers, *python.requirements(), wine.version())
        copy_checkout(TREE)
        binaries.build(TREE / "backworks")
        print(f"Running the tests with Windows' Python under {wine.version()}.", flush=True)
        # A limit that ends a test ends the run on Windows: all tests have the time that the longest needs under Wine.
        line = [python.EXE, "-m", "pytest", "-p", "tests.wine", "--timeout", "600", *arguments]
        # With CI a tool that is missing is a failure: it is either there, or on the list of tests/wine.py.
        return wine.run_there(line, TREE, binaries.zig_environment() | {"CI": "true"})
    except Failed as error:
        return f"test-windows: {error}"
    finally:
        wine.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
