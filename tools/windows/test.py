"""Runs the tests under Wine, with CPython for Windows: ``python -m tools.windows.test [PYTEST ARGUMENTS]``.

Run by ``make test-windows``. It keeps what it needs under ``$XDG_CACHE_HOME/backworks-test-windows``, or under
``~/.cache``; the tests run in a copy of the checkout on the C: drive of Wine's prefix.
"""

from __future__ import annotations

import sys

from tools.cross import wheel
from tools.steps import Failed, copy_checkout
from tools.windows import machine, python, wine
from tools.windows.wine import C_DRIVE, CACHE

#: The copy of the checkout on drive C:.
TREE = C_DRIVE / "backworks"


def main(arguments: list[str]) -> int | str:
    """Sets up, builds, and runs the tests."""
    try:
        machine.make()
        copy_checkout(TREE)
        wheel.binaries(wheel.build(TREE, "x86_64-windows-gnu", CACHE / "wheel"), TREE / "backworks")
        print(f"Running the tests with Windows' Python under {wine.version()}.", flush=True)
        line = [python.EXE, "-m", "pytest", "-p", "tests.wine", *arguments]
        # With CI a tool that is missing is a failure: it is either there, or on the list of tests/wine.py.
        return wine.run_there(line, TREE, {"CI": "true"})
    except Failed as error:
        return f"test-windows: {error}"
    finally:
        wine.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
