"""Runs the tests under Wine, with Windows' CPython: ``python tools/windows/test.py [ARGUMENTS OF PYTEST]``.

Run by ``make test-windows``. What it needs, it makes under ``$XDG_CACHE_HOME/backworks-test-windows``, or under
``~/.cache``, and keeps there; the tests themselves run in a copy of the checkout on the C: drive of Wine's prefix.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time

import binaries
import python
import wine
from common import C_DRIVE, CACHE, HERE, ROOT, Failed, run

#: What the prefix is made by.
MAKERS = ("../steps.py", "bcryptprimitives.c", "common.py", "forward.c", "forward.py", "python.py", "wine.py")
#: The checkout, as Windows sees it.
TREE = C_DRIVE / "backworks"


def _key() -> str:
    """Returns what the prefix was made from."""
    parts = [(HERE / name).read_bytes() for name in MAKERS]
    parts += ["\n".join(python.requirements()).encode(), sys.executable.encode(), wine.version().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def set_up() -> None:
    """Makes the prefix, unless it is there and was made from the same."""
    stamp, key = CACHE / "made-from", _key()
    if stamp.exists() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    print("Setting up Wine and Windows' Python: some minutes and 1 GB, once.", flush=True)
    for words, step in (
        ("Wine's prefix", wine.make_prefix),
        ("CPython", python.install_python),
        ("wheels", python.install_packages),
        ("compilers", binaries.build_tools),
    ):
        started = time.monotonic()
        step()
        print(f"  {words}: {time.monotonic() - started:.0f} s", flush=True)
    stamp.write_text(key)


def copy_tree() -> None:
    """Copies what git knows or would know of the checkout to the C: drive; what was built there stays."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard", what="no list of the files")
    build = TREE / "build"
    kept = build.rename(CACHE / "build") if build.exists() else None
    shutil.rmtree(TREE, ignore_errors=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)
    if kept is not None:
        kept.rename(build)


def main(arguments: list[str]) -> int | str:
    """Sets up, builds, and runs the tests."""
    try:
        set_up()
        copy_tree()
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
