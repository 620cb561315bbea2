"""Builds what is written in C for Windows, with Zig: the binding, the worker, and what only Wine needs."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from typing import TYPE_CHECKING

from common import C_DRIVE, CACHE, HERE, ROOT, run
from python import PYTHON

from backworks.inspection import inspect_library

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["build", "build_tools", "targets", "zig_environment"]

_WARNINGS = ("-Wall", "-Wextra", "-Werror")
#: The last is only built: neither Wine nor anything else here runs it.
targets = {"x86_64-windows-gnu": "i386:x86-64", "aarch64-windows-gnu": "arm64"}
#: Sources of the worker that other systems have.
_POSIX = {"children.c", "limits.c", "platform_posix.c", "watch.c"}


def zig_environment() -> dict[str, str]:
    """Returns the variables that have Zig keep what it built, which is each system's C library."""
    return {"ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig"), "ZIG_LOCAL_CACHE_DIR": str(CACHE / "zig")}


def _zig(*arguments: str | Path, what: str) -> None:
    run(sys.executable, "-m", "ziglang", *arguments, what=what, env=os.environ | zig_environment())


def _cc(target: str, *arguments: str | Path, what: str) -> None:
    _zig("cc", "-target", target, "-std=c11", "-O2", *_WARNINGS, *arguments, what=what)


def build_tools() -> None:
    """Builds the programs that stand in for compilers and make there, and the DLL that Wine lacks."""
    target = next(iter(targets))
    tools = C_DRIVE / "tools"
    # The Python that has Zig is this one; its place may not be told to a program of Windows in another way.
    script = tools / "forward"
    source = (HERE / "forward.py").read_text(encoding="utf-8")
    script.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    script.chmod(0o755)
    where = r'-DFORWARD=L"C:\\tools\\forward"'
    _cc(target, where, HERE / "forward.c", "-lws2_32", "-o", tools / "zig.exe", what="no compiler for Windows")
    for name in ("cc", "c++", "make"):
        shutil.copyfile(tools / "zig.exe", tools / f"{name}.exe")
    # Zig makes each system's C and C++ library at first use, which takes longer than a test may.
    sample = CACHE / "sample.cpp"
    sample.write_text("#include <stdexcept>\nvoid f() { throw std::runtime_error({}); }\n", encoding="ascii")
    options = ["-std=c++17", "-O1", "-g", "-fvisibility=hidden", "-shared"]
    _zig("c++", "-target", target, *options, sample, "-o", CACHE / "sample.dll", what="no C++ library for Windows")
    stand_in = PYTHON / "Lib" / "site-packages" / "ziglang"
    stand_in.mkdir()
    (stand_in / "__init__.py").touch()
    (stand_in / "__main__.py").write_text(
        'import subprocess, sys\n\nsys.exit(subprocess.call(["zig.exe", *sys.argv[1:]]))\n', encoding="utf-8"
    )
    shim = C_DRIVE / "windows" / "system32" / "bcryptprimitives.dll"
    if not shim.exists():
        source_file = HERE / "bcryptprimitives.c"
        _cc(target, "-shared", source_file, "-ladvapi32", "-o", shim, what="no random numbers for what Rust made")


def _headers() -> Path:
    """Returns a folder of this Python's headers, which are the same on all systems but for one."""
    folder = CACHE / "include"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sysconfig.get_path("include"), folder)
    shutil.copyfile(HERE / "pyconfig.h", folder / "pyconfig.h")
    return folder


def _import_library(target: str, machine: str) -> Path:
    """Makes what the linker needs to know of python3.dll."""
    names = sorted(inspect_library(PYTHON / "python3.dll").exports)
    definition = CACHE / f"python3-{target}.def"
    definition.write_text("LIBRARY python3.dll\nEXPORTS\n" + "".join(f"  {name}\n" for name in names), encoding="ascii")
    library = definition.with_suffix(".lib")
    _zig("dlltool", "-m", machine, "-d", definition, "-l", library, what="no import library of python3.dll")
    return library


def build(package: Path) -> None:
    """Builds the binding and the worker into a package; for processors that cannot run here into the cache."""
    include = _headers()
    for target, machine in targets.items():
        place = package if target == next(iter(targets)) else CACHE / "built-only" / target
        (place / "ffi").mkdir(parents=True, exist_ok=True)
        (place / "bin").mkdir(exist_ok=True)
        common = [f"-I{ROOT / 'sdk' / 'c'}"]
        binding = sorted((ROOT / "native" / "binding").glob("*.c"))
        python = ["-DPy_LIMITED_API=0x030B0000", "-isystem", include, _import_library(target, machine)]
        out = place / "ffi" / "_native.pyd"
        _cc(target, "-shared", *common, *binding, *python, "-o", out, what="the binding is not built")
        worker = sorted(path for path in (ROOT / "native" / "worker").glob("*.c") if path.name not in _POSIX)
        out = place / "bin" / "backworks-worker.exe"
        _cc(target, *common, *worker, "-o", out, what="the worker is not built")
