"""Runs the tests under qemu, with a CPython for aarch64: ``python -m tools.cross.test_aarch64 [ARGUMENTS]``.

Run by ``make test-aarch64``. It keeps what it needs under ``$XDG_CACHE_HOME/backworks-cross``, or under ``~/.cache``;
the tests run in a copy of the checkout there.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tools.cross import aarch64, wheel
from tools.cross.zig import CACHE
from tools.steps import Failed, copy_checkout

TREE = CACHE / "tree-aarch64"
#: The default tests: those of code that depends on the processor. The rest is Python, which is only slower here.
TESTS = """
accepted_isolation bad_libraries codec ffi ffi_native header inspection lifecycle mailbox musl plugin processes reload
resilience staging threads weather worker worker_process zoo
"""
TARGET = "aarch64-linux-gnu.2.28"


def build() -> None:
    """Builds the extension module and the worker, and installs a launcher for the worker."""
    # Like an editable install, so that processes that tests start elsewhere find the package too.
    (aarch64.PACKAGES / "backworks.pth").write_text(f"{TREE}\n", encoding="utf-8")
    wheel.binaries(wheel.build(TREE, TARGET, CACHE / "wheel-aarch64"), TREE / "backworks")
    aarch64.stand_in(TREE / "backworks" / "bin" / "backworks-worker", CACHE / "worker-aarch64")


def main(arguments: list[str]) -> int | str:
    """Sets up, builds, and runs the tests."""
    try:
        aarch64.make()
        copy_checkout(TREE)
        build()
        print(f"Running the tests with a Python for aarch64 under {aarch64.version()}.", flush=True)
        line = [str(aarch64.PYTHON), "-m", "pytest", "-p", "tests.qemu"]
        line += arguments
        if not any(argument.startswith("tests/") for argument in arguments):
            line += [f"tests/test_{name}.py" for name in TESTS.split()]
        compiler = aarch64.compiler()
        environment = os.environ | {
            "CC": str(compiler),
            "PATH": os.pathsep.join((str(compiler.parent), os.environ["PATH"])),
            "CI": "true",  # a missing tool is a failure
            "BACKWORKS_TEST_PACE": "4",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling imported modules is slow in the emulated Python
        return subprocess.call(line, cwd=TREE, env=environment)
    except Failed as error:
        return f"test-aarch64: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
