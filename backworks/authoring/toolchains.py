"""How each language is built: the build file that identifies it, the tools it needs, and their commands."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from backworks.errors import BuildError, PluginNotFound, ToolNotFound
from backworks.loading.paths import SUFFIXES, library_name, resolve_library
from backworks.system import program_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Job", "Step", "Toolchain", "toolchain_of"]


class Job(NamedTuple):
    """One build.

    Attributes:
        directory: The absolute path of the project.
        work: The build directory, inside the project.
        stem: The name of the library, without the system's prefix and suffix.
    """

    directory: Path
    work: Path
    stem: str

    @property
    def below(self) -> str:
        """The build directory, relative to the project's directory."""
        return self.work.relative_to(self.directory).as_posix()


class Step(NamedTuple):
    """One command of a build.

    Attributes:
        command: The program and its arguments.
        reads: Whether this program reads its output; otherwise the output is for the user.
    """

    command: Sequence[str]
    reads: bool = False


class Toolchain:
    """Builds the projects that have one kind of build file.

    Attributes:
        name: The name of the tool, and of its build directory under build/.
        build_file: The file that identifies such a project.
        places: The directories under the build directory where the library may be.
    """

    name: ClassVar[str]
    build_file: ClassVar[str]
    places: ClassVar[Sequence[str]] = (".",)

    def steps(self, job: Job) -> Sequence[Step]:
        """Returns the commands.

        Raises:
            ToolNotFound: A program is not installed.
        """
        raise NotImplementedError

    def product(self, job: Job, printed: str) -> Path:
        """Finds the library that the commands have built.

        Args:
            job: The finished job.
            printed: The output of the last command.

        Raises:
            BuildError: There is no library.
        """
        for place in self.places:
            try:
                return resolve_library(job.work / place / job.stem)
            except PluginNotFound:
                continue
        name = library_name(job.stem)
        raise BuildError(
            f"the build produced no {name} in {job.work}: name the library after the path in backworks.yaml"
        )


def toolchain_of(directory: Path) -> Toolchain:
    """Finds the toolchain of a project.

    Raises:
        BuildError: The project has no known build file.
    """
    for toolchain in _TOOLCHAINS:
        if (directory / toolchain.build_file).is_file():
            return toolchain
    known = ", ".join(toolchain.build_file for toolchain in _TOOLCHAINS)
    raise BuildError(f"{directory}: no build file found; add one of {known}")


class _Make(Toolchain):
    name = "make"
    build_file = "Makefile"

    def steps(self, job: Job) -> Sequence[Step]:
        advice = "apt install make, dnf install make, xcode-select --install, or similar"
        make = _find("GNU make", ("gmake", "make"), advice)
        return [Step([make, f"CC={_cc()}", f"OUT={job.below}"])]


class _CMake(Toolchain):
    name = "cmake"
    build_file = "CMakeLists.txt"
    places = (".", "Release")  # the latter with Visual Studio

    def steps(self, job: Job) -> Sequence[Step]:
        cmake = _find("CMake", ("cmake",), "pip install cmake, apt install cmake, or get it from https://cmake.org")
        if sys.platform != "win32":  # where CMake finds Visual Studio's compiler, which is not on the PATH
            _cxx()
        prepare = Step([cmake, "-S", ".", "-B", job.below, "-DCMAKE_BUILD_TYPE=Release"])
        build = Step([cmake, "--build", job.below, "--config", "Release"])
        # Configured once; after that, the build itself detects changes to CMakeLists.txt.
        return [build] if (job.work / "CMakeCache.txt").is_file() else [prepare, build]


class _Cargo(Toolchain):
    name = "cargo"
    build_file = "Cargo.toml"

    def steps(self, job: Job) -> Sequence[Step]:
        cargo = _find("Rust's cargo", ("cargo",), "get it from https://rustup.rs")
        return [Step([cargo, "build", "--release", "--message-format", "json-render-diagnostics"], reads=True)]

    def product(self, job: Job, printed: str) -> Path:
        found: list[Path] = []
        for line in printed.splitlines():
            message = json.loads(line) if line.startswith("{") else {}
            if message.get("reason") == "compiler-artifact" and "cdylib" in message["target"]["crate_types"]:
                found += [Path(name) for name in message["filenames"] if name.endswith(SUFFIXES)]
        if not found:
            raise BuildError('cargo built no C library: set crate-type = ["cdylib"] in Cargo.toml')
        return found[-1]


class _Go(Toolchain):
    name = "go"
    build_file = "go.mod"

    def steps(self, job: Job) -> Sequence[Step]:
        go = _find("Go", ("go",), "get it from https://go.dev/dl")
        _cc()  # for cgo
        command = [go, "build", "-buildmode=c-shared", "-o", f"{job.below}/{library_name(job.stem)}"]
        exports = job.directory / "sdk" / "backworks_plugin.map"
        if sys.platform == "linux" and exports.is_file() and not set("'\"") & set(str(exports)):
            # Without it the library also exports the runtime's symbols. Go accepts this option only in this form.
            command.append(f"-ldflags=-extldflags \"'-Wl,--version-script={exports}'\"")
        return [Step([*command, "."])]


class _Zig(Toolchain):
    name = "zig"
    build_file = "build.zig"
    places = ("lib", "bin")  # the latter on Windows

    def steps(self, job: Job) -> Sequence[Step]:
        if shutil.which("zig") is not None:
            command = ["zig"]
        elif importlib.util.find_spec("ziglang") is not None:
            command = [sys.executable, "-m", "ziglang"]
        else:
            raise ToolNotFound("Zig is not installed: pip install ziglang, or get it from https://ziglang.org/download")
        asked = subprocess.run([*command, "version"], capture_output=True, text=True, check=False)  # noqa: S603
        version = asked.stdout.strip()
        if version.startswith(tuple(f"0.{number}." for number in range(14))):
            raise ToolNotFound(f"Zig {version} is too old; 0.14 or newer is required: pip install --upgrade ziglang")
        return [Step([*command, "build", "--release", "--prefix", job.below])]


#: Make comes last, because a project may have a Makefile beside any other build file.
_TOOLCHAINS = (_Cargo(), _Go(), _Zig(), _CMake(), _Make())


def _find(what: str, names: Sequence[str], advice: str) -> str:
    """Finds a program on the PATH."""
    for name in names:
        if shutil.which(name) is not None:
            return name
    raise ToolNotFound(f"{what} is not installed: {advice}")


def _cc() -> str:
    return _compiler("CC", "a C compiler", ("cc", "gcc", "clang"))


def _cxx() -> str:
    return _compiler("CXX", "a C++ compiler", ("c++", "g++", "clang++"))


def _compiler(variable: str, what: str, names: Sequence[str]) -> str:
    """Finds a compiler: the one in the environment variable, or the first that is installed."""
    if command := os.environ.get(variable, "").strip():
        program = program_of(command)
        if shutil.which(program) is None:
            raise ToolNotFound(f"{variable} is set to {program}, which is not installed")
        return command
    advice = {
        "darwin": "xcode-select --install",
        "win32": f"pip install ziglang, and set {variable} to: python -m ziglang {names[0]}",
    }.get(sys.platform, "apt install gcc g++, dnf install gcc gcc-c++, apk add gcc g++ musl-dev, or similar")
    return _find(f"{what} ({', '.join(names)})", names, advice)
