"""The headers and import library to link an extension module for Python on Windows, created on Linux."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from abi3info import DATAS, FUNCTIONS

from tools.cross.zig import CACHE, environment, tools
from tools.steps import fail, run

__all__ = ["PROCESSORS", "settings"]

#: Zig's name for the system -> the names of its processor in CMake and dlltool.
PROCESSORS = {"x86_64-windows-gnu": ("AMD64", "i386:x86-64"), "aarch64-windows-gnu": ("ARM64", "arm64")}


def _headers() -> Path:
    """Returns a directory with this Python's headers, of which only pyconfig.h depends on the system."""
    folder = CACHE / "include-windows"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sysconfig.get_path("include"), folder)
    shutil.copyfile(Path(__file__).with_name("pyconfig.h"), folder / "pyconfig.h")
    return folder


def _libraries(target: str) -> Path:
    """Creates a directory with the import library of python3.dll, which exports only the stable ABI."""
    folder = CACHE / f"lib-{target}"
    folder.mkdir(parents=True, exist_ok=True)
    definition = folder / "python3.def"
    names = [*(symbol.name for symbol in FUNCTIONS), *(f"{symbol.name} DATA" for symbol in DATAS)]
    definition.write_text("LIBRARY python3.dll\nEXPORTS\n" + "\n".join(sorted(names)) + "\n", encoding="ascii")
    dlltool = [sys.executable, "-m", "ziglang", "dlltool", "-m", PROCESSORS[target][1], "-d", definition]
    library = folder / "python3.lib"
    run(*dlltool, "-l", library, what="cannot create the import library of python3.dll", env=os.environ | environment())
    # CMake links with the libraries of this Python, which is for Linux.
    run(tools(target) / "ar", "rc", folder / "libdl.a", what="cannot create a stub of libdl")
    return folder


def settings(target: str) -> tuple[dict[str, str | Path], Path]:
    """Creates the headers and libraries.

    Args:
        target: One of :data:`PROCESSORS`.

    Returns:
        Variables for CMake, and the directory for the linker to search.
    """
    libraries = _libraries(target)
    # CMake runs Python through this "emulator", as if it were for Windows, although it is for Linux.
    emulator = shutil.which("env") or fail("the program env is missing")
    return {
        "CMAKE_SYSTEM_NAME": "Windows",
        "CMAKE_SYSTEM_PROCESSOR": PROCESSORS[target][0],
        "CMAKE_CROSSCOMPILING_EMULATOR": emulator,
        "Python_INCLUDE_DIR": _headers(),
        "Python_SABI_LIBRARY": libraries / "python3.lib",
    }, libraries
