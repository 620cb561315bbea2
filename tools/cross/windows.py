"""What an extension module is linked with for a Python on Windows, made without one."""

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

#: Zig's name of the system -> what CMake calls its processor, and what dlltool does.
PROCESSORS = {"x86_64-windows-gnu": ("AMD64", "i386:x86-64"), "aarch64-windows-gnu": ("ARM64", "arm64")}


def _headers() -> Path:
    """Returns a folder of this Python's headers, which are the same on all systems but for one."""
    folder = CACHE / "include-windows"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sysconfig.get_path("include"), folder)
    shutil.copyfile(Path(__file__).with_name("pyconfig.h"), folder / "pyconfig.h")
    return folder


def _libraries(target: str) -> Path:
    """Makes a folder with what the linker needs to know of python3.dll, which holds the stable ABI and nothing else."""
    folder = CACHE / f"lib-{target}"
    folder.mkdir(parents=True, exist_ok=True)
    definition = folder / "python3.def"
    names = [*(symbol.name for symbol in FUNCTIONS), *(f"{symbol.name} DATA" for symbol in DATAS)]
    definition.write_text("LIBRARY python3.dll\nEXPORTS\n" + "\n".join(sorted(names)) + "\n", encoding="ascii")
    dlltool = [sys.executable, "-m", "ziglang", "dlltool", "-m", PROCESSORS[target][1], "-d", definition]
    library = folder / "python3.lib"
    run(*dlltool, "-l", library, what="no import library of python3.dll", env=os.environ | environment())
    # CMake has the linker take what this Python, one of Linux, is linked with.
    run(tools(target) / "ar", "rc", folder / "libdl.a", what="no stand-in for libdl")
    return folder


def settings(target: str) -> tuple[dict[str, str | Path], Path]:
    """Makes what it takes.

    Args:
        target: One of :data:`PROCESSORS`.

    Returns:
        Variables for CMake, and the folder that the linker searches.
    """
    libraries = _libraries(target)
    # CMake runs the Python that it asks about Python through this, as if it were one of Windows: it is one of Linux.
    emulator = shutil.which("env") or fail("there is no program env")
    return {
        "CMAKE_SYSTEM_NAME": "Windows",
        "CMAKE_SYSTEM_PROCESSOR": PROCESSORS[target][0],
        "CMAKE_CROSSCOMPILING_EMULATOR": emulator,
        "Python_INCLUDE_DIR": _headers(),
        "Python_SABI_LIBRARY": libraries / "python3.lib",
    }, libraries
