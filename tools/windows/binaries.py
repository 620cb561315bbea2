"""Builds stand-ins for missing Windows programs, and a DLL that Wine lacks."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tools.cross.zig import environment
from tools.steps import run
from tools.windows.python import PYTHON
from tools.windows.wine import C_DRIVE, CACHE

__all__ = ["build_tools"]

HERE = Path(__file__).resolve().parent


def _zig(language: str, *arguments: str | Path, what: str) -> None:
    zig = [sys.executable, "-m", "ziglang", language, "-target", "x86_64-windows-gnu"]
    run(*zig, *arguments, what=what, env=os.environ | environment())


def _cc(*arguments: str | Path, what: str) -> None:
    _zig("cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", *arguments, what=what)


def build_tools() -> None:
    """Builds the stand-ins for the compilers and make, and the DLL."""
    tools = C_DRIVE / "tools"
    # This Python has Zig; the shebang line is the only way to pass its path to a Windows program.
    script = tools / "forward"
    source = (HERE / "forward.py").read_text(encoding="utf-8")
    source = source.replace("{cache}", environment()["ZIG_GLOBAL_CACHE_DIR"])
    script.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    script.chmod(0o755)
    where = r'-DFORWARD=L"C:\\tools\\forward"'
    _cc(
        where,
        HERE / "forward.c",
        "-lws2_32",
        "-o",
        tools / "zig.exe",
        what="cannot build the compiler stand-in for Windows",
    )
    for name in ("cc", "c++", "make"):
        shutil.copyfile(tools / "zig.exe", tools / f"{name}.exe")
    # Zig builds each system's C and C++ library at first use, which takes longer than a test's time limit.
    sample = CACHE / "sample.cpp"
    sample.write_text("#include <stdexcept>\nvoid f() { throw std::runtime_error({}); }\n", encoding="ascii")
    options = ["-std=c++17", "-O1", "-g", "-fvisibility=hidden", "-shared"]
    _zig("c++", *options, sample, "-o", CACHE / "sample.dll", what="cannot build the C++ library for Windows")
    stand_in = PYTHON / "Lib" / "site-packages" / "ziglang"
    stand_in.mkdir()
    (stand_in / "__init__.py").touch()
    (stand_in / "__main__.py").write_text(
        'import subprocess, sys\n\nsys.exit(subprocess.call(["zig.exe", *sys.argv[1:]]))\n', encoding="utf-8"
    )
    shim = C_DRIVE / "windows" / "system32" / "bcryptprimitives.dll"
    if not shim.exists():
        source_file = HERE / "bcryptprimitives.c"
        _cc(
            "-shared",
            source_file,
            "-ladvapi32",
            "-o",
            shim,
            what="cannot build bcryptprimitives.dll, which Rust programs need",
        )
