"""Makes a wheel for another processor or C library, with Zig and the project's own CMakeLists.txt."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from typing import TYPE_CHECKING

from common import run
from zig import tools

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["binaries", "build"]

#: Zig's name of the system -> what Python calls it.
TARGETS = {
    "x86_64-linux-gnu.2.28": "linux-x86_64",
    "aarch64-linux-gnu.2.28": "linux-aarch64",
    "x86_64-linux-musl": "linux-x86_64",
    "aarch64-linux-musl": "linux-aarch64",
}


def build(source: Path, target: str, out: Path) -> Path:
    """Builds a wheel.

    Args:
        source: A checkout, or an unpacked source distribution.
        target: One of :data:`TARGETS`.
        out: An empty folder, or none yet, for the wheel.

    Returns:
        The wheel; its name says ``linux`` and the processor.
    """
    programs = tools(target)
    # CMAKE_SYSTEM_NAME stays unset: with it CMake would want to run this Python in an emulator.
    settings = {f"CMAKE_{name}": programs / name.split("_")[-1].lower() for name in ("AR", "RANLIB")}
    settings |= {f"CMAKE_C_COMPILER_{name}": programs / name.lower() for name in ("AR", "RANLIB")}
    environment = os.environ | {
        "CC": str(programs / "cc"),
        "CMAKE_ARGS": " ".join(f"-D{name}={path}" for name, path in settings.items()),
        # Zig links a program with musl statically, and such a program cannot open a library.
        "LDFLAGS": "-dynamic" if target.endswith("musl") else "",
        "_PYTHON_HOST_PLATFORM": TARGETS[target],
    }
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", out, source]
    run(*command, what=f"no wheel for {target}", env=environment)
    (wheel,) = out.glob("*.whl")
    return wheel


def binaries(wheel: Path, package: Path) -> None:
    """Takes the extension module and the worker out of a wheel into a package."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith("backworks/bin/") or entry.filename.endswith(".abi3.so"):
                target = package.parent / entry.filename
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(archive.read(entry))
                target.chmod(0o755)
