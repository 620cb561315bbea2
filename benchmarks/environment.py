"""Creates the environment of the benchmarks: ``python3 -m benchmarks.environment``, from the root of the checkout.

It has the peers' packages (requirements.txt), Backworks installed from this checkout, and the compiled peers. Each part
is rebuilt only when its sources have changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import BUILD, ENVIRONMENT, PEERS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HERE = ROOT / "benchmarks"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PIP = (PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")


def main() -> int:
    """Creates the missing parts; returns the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036  # runs before any other version check
        print(f"bench: Backworks needs Python 3.11 or newer, but {sys.executable} is {sys.version.split()[0]}")
        return 1
    if sys.platform == "win32":
        print("bench: the benchmarks need tools that exist only on Linux and macOS; run them there")
        return 1
    for tool, origin in (("cc", "gcc"), ("c++", "g++"), ("wrk", "wrk")):
        if shutil.which(tool) is None:
            print(f"bench: {tool} is not installed; on Debian and Ubuntu: apt install {origin}")
            return 1
    requirements = [HERE / "requirements.txt"]
    peers = [
        *requirements,
        HERE / "cffi_build.py",
        *(HERE / "peers").iterdir(),
        ROOT / "sdk" / "c" / "backworks_plugin.h",
    ]
    package = [ROOT / "pyproject.toml", ROOT / "CMakeLists.txt"]
    for part in ("backworks", "native", "sdk"):
        package += [file for file in (ROOT / part).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    try:
        make("environment", "creating the environment", requirements, make_environment)
        make("backworks", "installing Backworks", package, install_backworks)
        make("peers", "compiling the peers", peers, build_peers)
    except subprocess.CalledProcessError as error:
        print(f"bench: {' '.join(map(str, error.cmd))} failed; see its output above")
        return 1
    except OSError as error:  # for example, cmake could not be installed
        print(f"bench: {error}; remove {BUILD} to try again")
        return 1
    return 0


def make(part: str, doing: str, sources: Iterable[Path], recipe: Callable[[], None]) -> None:
    """Builds one part, unless it was built from the same sources with the same Python."""
    digest = hashlib.sha256(sys.version.encode())
    for source in sorted(sources):
        digest.update(f"{source.relative_to(ROOT)}\0".encode() + source.read_bytes())
    stamp = BUILD / f"{part}.made"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    print(f"bench: {doing}", flush=True)
    recipe()
    stamp.write_text(digest.hexdigest())


def make_environment() -> None:
    """Recreates the environment; the other parts must then be installed again."""
    shutil.rmtree(BUILD, ignore_errors=True)
    run(sys.executable, "-m", "venv", ENVIRONMENT)
    try:
        run(*PIP, "--requirement", HERE / "requirements.txt")
    except subprocess.CalledProcessError:
        install_one_by_one()


def install_one_by_one() -> None:
    """Installs each package that can be installed, and reports the others, whose peers are then skipped."""
    for line in (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            try:
                run(*PIP, line)
            except subprocess.CalledProcessError:
                print(f"bench: skipping {line}, which cannot be installed; to try again, remove {BUILD}")


def install_backworks() -> None:
    """Installs Backworks as a user does, because an editable installation starts more slowly."""
    run(*PIP, ROOT)


def build_peers() -> None:
    """Compiles the plugins and the peers."""
    work = PEERS / "cmake"
    cmake = ENVIRONMENT / "bin" / "cmake"
    options = (f"-DPython_EXECUTABLE={PYTHON}", f"-DHEADER={ROOT / 'sdk' / 'c'}", "-DPython_FIND_VIRTUALENV=ONLY")
    ninja = f"-DCMAKE_MAKE_PROGRAM={ENVIRONMENT / 'bin' / 'ninja'}"
    run(cmake, "-S", HERE / "peers", "-B", work, "-G", "Ninja", ninja, "-DCMAKE_BUILD_TYPE=Release", *options)
    run(cmake, "--build", work)
    run(PYTHON, HERE / "cffi_build.py", PEERS)


def run(*command: str | Path) -> None:
    """Runs a command, and shows its output only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout)
        raise subprocess.CalledProcessError(done.returncode, command)


if __name__ == "__main__":
    sys.exit(main())
