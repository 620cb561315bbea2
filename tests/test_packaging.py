"""The distributions: their contents, and that these work outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import backworks
from backworks import sdk
from backworks.authoring.project import create_project

if TYPE_CHECKING:
    from collections.abc import Mapping

# The distributions are built in new environments with packages from the index, and installed into another one.
pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parent.parent

#: Environment variables that a user does not have.
OURS = ("PYTHONPATH", "BACKWORKS_FFI", "VIRTUAL_ENV", "CC", "CFLAGS")


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command like a user, and prints its output, which pytest shows on failure."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr, sep="\n")
    return done


@pytest.fixture(scope="module", name="sdist")
def _sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the source distribution of this checkout."""
    directory = tmp_path_factory.mktemp("sdist")
    done = run(sys.executable, "-m", "build", "--sdist", "--outdir", directory, ROOT, cwd=directory)
    assert done.returncode == 0
    return next(directory.glob("*.tar.gz"))


@pytest.fixture(scope="module", name="unpacked")
def _unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacks the source distribution."""
    directory = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    return next(directory.iterdir())


@pytest.fixture(scope="module", name="wheel")
def _wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel from the source distribution."""
    directory = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--wheel", "--outdir", directory, unpacked, cwd=directory)
    assert done.returncode == 0
    return next(directory.glob("*.whl"))


@pytest.fixture(scope="module", name="names")
def _names(wheel: Path) -> frozenset[str]:
    """Returns the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.fixture(scope="module", name="scripts")
def _scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of commands of a new environment with the wheel and its dependencies."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, with_pip=True)
    scripts = directory / ("Scripts" if sys.platform == "win32" else "bin")
    done = run(scripts / "python", "-m", "pip", "install", "--quiet", wheel, cwd=directory)
    assert done.returncode == 0
    return scripts


def files(package: Path) -> Mapping[str, Path]:
    """Returns the files of a package by their path in a wheel, without caches and compiled files."""
    return {
        file.relative_to(package.parent).as_posix(): file
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix not in {".so", ".pyd"}
    }


class TestSdist:
    """The source distribution."""

    def test_contents(self, unpacked: Path) -> None:
        """It has everything for building, testing and reading, but no build output."""
        found = {file.relative_to(unpacked).as_posix() for file in unpacked.rglob("*") if file.is_file()}

        assert found >= {
            "CMakeLists.txt",
            "LICENSE",
            "README.md",
            "native/binding/module.c",
            "native/wire/PROTOCOL.md",
            "native/worker/main.c",
            "pyproject.toml",
            "backworks/authoring/templates/common/dot_github/workflows/ci.yml.in",
            "sdk/c/backworks_plugin.h",
            "sdk/cpp/backworks_plugin.hpp",
            "sdk/go/go.mod",
            "sdk/rust/Cargo.toml",
            "sdk/zig/backworks.zig",
            "tests/isolated/installed.py",
            "tests/test_packaging.py",
        }
        assert not [name for name in found if name.endswith((".so", ".pyd", ".o", ".pyc"))]
        assert not [name for name in found if {"target", "build", ".venv", ".git"} & set(name.split("/"))]

    def test_no_compiler(self, unpacked: Path, tmp_path: Path) -> None:
        """Without a C compiler the build fails and says what to install."""
        build = (sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, unpacked)
        done = run(*build, cwd=tmp_path, CC="no-such-cc")

        assert done.returncode != 0
        assert "needs a C compiler" in done.stdout + done.stderr
        assert "apt install gcc python3-dev" in done.stdout + done.stderr
        assert not list(tmp_path.iterdir())


class TestWheel:
    """The wheel."""

    def test_package(self, names: frozenset[str]) -> None:
        """It has every file of the package, data and type marker included."""
        assert names >= files(ROOT / "backworks").keys()
        assert "backworks/py.typed" in names

    def test_kits(self, names: frozenset[str]) -> None:
        """It has every SDK completely, and the Rust crate without cargo's output."""
        kits = [kit for kit in (ROOT / "sdk").iterdir() if kit.name != "rust"]

        for kit in kits:
            assert names >= {f"backworks/_sdk/{name}" for name in files(kit)}
        crate = {name for name in names if name.startswith("backworks/_sdk/rust/")}

        assert "backworks/_sdk/c/backworks_plugin.h" in names
        assert crate >= {"backworks/_sdk/rust/Cargo.toml", "backworks/_sdk/rust/src/lib.rs"}
        assert not [name for name in crate if "/target/" in name]

    def test_nothing_else(self, names: frozenset[str]) -> None:
        """It has no tests, and nothing outside the package except metadata."""
        assert {name.split("/")[0] for name in names} == {"backworks", f"backworks-{backworks.__version__}.dist-info"}
        assert not [name for name in names if "tests" in name.split("/")]

    def test_binary(self, wheel: Path, names: frozenset[str]) -> None:
        """It has the extension module, for the stable ABI if this CPython has one."""
        modules = [name for name in names if name.startswith("backworks/ffi/_native.") and not name.endswith(".pyi")]

        assert len(modules) == 1
        if not sysconfig.get_config_var("Py_GIL_DISABLED"):
            assert "-cp311-abi3-" in wheel.name
            assert run(sys.executable, "-m", "abi3audit", "--strict", wheel, cwd=wheel.parent).returncode == 0

    def test_worker(self, wheel: Path) -> None:
        """It has the worker program, beside the extension module, and executable."""
        with zipfile.ZipFile(wheel) as archive:
            programs = [entry for entry in archive.infolist() if entry.filename.startswith("backworks/bin/")]

        assert [Path(entry.filename).stem for entry in programs] == ["backworks-worker"]
        assert sys.platform == "win32" or programs[0].external_attr >> 16 & 0o111 == 0o111


class TestInstalled:
    """The wheel, installed outside the checkout."""

    def test_version(self, scripts: Path, tmp_path: Path) -> None:
        """The command and the module report the version."""
        for command in ([scripts / "backworks"], [scripts / "python", "-I", "-m", "backworks"]):
            done = run(*command, "--version", cwd=tmp_path)

            assert done.returncode == 0
            assert backworks.__version__ in done.stdout

    @pytest.mark.parametrize(("option", "landmark"), [(f"--{kit}", file) for kit, file in sdk.KITS.items()])
    def test_sdk_path(self, scripts: Path, tmp_path: Path, option: str, landmark: str) -> None:
        """``backworks sdk path`` prints a directory of the installation that contains the SDK."""
        done = run(scripts / "backworks", "sdk", "path", option, cwd=tmp_path)
        folder = Path(done.stdout.strip())

        assert done.returncode == 0
        assert (folder / landmark).is_file()
        assert folder.is_relative_to(scripts.parent.resolve())

    def test_plugin(self, scripts: Path, tmp_path: Path) -> None:
        """A plugin compiled with the installed header runs with every binding, and in a worker process."""
        done = run(scripts / "python", "-I", ROOT / "tests" / "isolated" / "installed.py", cwd=tmp_path)

        assert done.returncode == 0
        assert [line.split()[0] for line in done.stdout.splitlines()] == [
            "native",
            "cffi",
            "ctypes",
            "process",
            "backworks",
        ]

    @pytest.mark.parametrize("language", sdk.KITS)
    def test_new(self, scripts: Path, tmp_path: Path, language: str) -> None:
        """A new project has the same files as one created from the checkout."""
        done = run(scripts / "backworks", "plugin", "new", "hello", "--lang", language, cwd=tmp_path)
        assert done.returncode == 0
        (tmp_path / "here").mkdir()

        assert contents(tmp_path / "hello") == contents(create_project("hello", language, tmp_path / "here"))


def contents(directory: Path) -> dict[str, bytes]:
    """Returns the files under a directory, with their contents."""
    return {
        file.relative_to(directory).as_posix(): file.read_bytes() for file in directory.rglob("*") if file.is_file()
    }
