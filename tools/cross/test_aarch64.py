"""Runs the tests under qemu, with a CPython for aarch64: ``python tools/cross/test_aarch64.py [ARGUMENTS OF PYTEST]``.

Run by ``make test-aarch64``. What it needs, it makes under ``$XDG_CACHE_HOME/backworks-cross``, or under ``~/.cache``,
and keeps there; the tests themselves run in a copy of the checkout there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import aarch64
import wheel
from common import CACHE, ROOT, Failed, run

HERE = Path(__file__).resolve().parent
#: What the emulated system is made by.
MAKERS = ("../steps.py", "aarch64.py", "common.py", "zig.py")
TREE = CACHE / "tree-aarch64"
#: What runs unless tests are named: what meets the processor, and is known to pass. The whole suite takes hours.
TESTS = ("ffi", "codec", "staging")
TARGET = "aarch64-linux-gnu.2.28"


def _key() -> str:
    """Returns what the system was made from."""
    parts = [(HERE / name).read_bytes() for name in MAKERS]
    parts += ["\n".join(aarch64.requirements()).encode(), sys.executable.encode(), aarch64.version().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def set_up() -> None:
    """Makes the system, unless it is there and was made from the same."""
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp, key = CACHE / "aarch64-made-from", _key()
    if stamp.exists() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    print("Setting up a Python for aarch64: two to four minutes and 600 MB, once.", flush=True)
    for words, step in (("Debian's Python", aarch64.make_system), ("wheels", aarch64.install_packages)):
        started = time.monotonic()
        step()
        print(f"  {words}: {time.monotonic() - started:.0f} s", flush=True)
    stamp.write_text(key)


def copy_tree() -> None:
    """Copies what git knows or would know of the checkout; what was built there stays."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard", what="no list of the files")
    build = TREE / "build"
    kept = build.rename(CACHE / "build-aarch64") if build.exists() else None
    shutil.rmtree(TREE, ignore_errors=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)
    if kept is not None:
        kept.rename(build)


def build() -> None:
    """Builds the extension module and the worker, and puts a launcher where the worker is looked for."""
    # As an editable install does: what a test starts elsewhere finds the package too.
    (aarch64.PACKAGES / "backworks.pth").write_text(f"{TREE}\n", encoding="utf-8")
    wheel.binaries(wheel.build(TREE, TARGET, CACHE / "wheel-aarch64"), TREE / "backworks")
    worker = TREE / "backworks" / "bin" / "backworks-worker"
    program = CACHE / "worker-aarch64"
    worker.replace(program)
    aarch64.launcher(worker, program)


def main(arguments: list[str]) -> int | str:
    """Sets up, builds, and runs the tests."""
    try:
        set_up()
        copy_tree()
        build()
        print(f"Running the tests with a Python for aarch64 under {aarch64.version()}.", flush=True)
        line = [str(aarch64.PYTHON), "-m", "pytest", "--timeout", "900"]
        line += arguments or [f"tests/test_{name}.py" for name in TESTS]
        environment = os.environ | {"CC": str(aarch64.compiler()), "CI": "true"}  # a missing tool is a failure
        return subprocess.call(line, cwd=TREE, env=environment)
    except Failed as error:
        return f"test-aarch64: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
