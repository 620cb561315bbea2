"""Libraries for systems other than this one, compiled with the C compiler of the package ``ziglang``."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from conftest import ECHO, missing

from backworks import sdk

#: zig's name of the target -> what a plugin for it says about itself.
TARGETS = {
    "aarch64-linux-gnu": ("elf", "linux", "aarch64"),
    "riscv64-linux-musl": ("elf", "linux", "riscv64"),
    "x86_64-macos": ("mach-o", "macos", "x86_64"),
    "aarch64-macos": ("mach-o", "macos", "aarch64"),
    "x86_64-windows-gnu": ("pe", "windows", "x86_64"),
}


@cache
def cross_compile(target: str, flags: Sequence[str] = (), source: str = ECHO) -> bytes:
    """Returns the library that the source, by default a whole plugin, is for the target."""
    if importlib.util.find_spec("ziglang") is None:
        missing("the Python package ziglang")
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "plugin.c").write_text(source, encoding="utf-8")
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=c11", "-O1", "-fvisibility=hidden"]
        command += ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{sdk.path('c')}", "plugin.c", *flags]
        subprocess.run([*command, "-o", "plugin.out"], check=True, cwd=directory)
        return (Path(directory) / "plugin.out").read_bytes()


def join(slices: Sequence[bytes], *, wide: bool = False) -> bytes:
    """Joins Mach-O files into a fat one, as lipo does; ``wide`` with offsets of 64 bits."""
    offset, entries, body = 0x4000, b"", b""
    for data in slices:
        cpu, variant = struct.unpack_from("<II", data, 4)
        entries += struct.pack(">IIQQII" if wide else ">IIIII", cpu, variant, offset, len(data), *([14, 0][: 1 + wide]))
        padding = -len(data) % 0x4000
        body += data + bytes(padding)
        offset += len(data) + padding
    header = struct.pack(">II", 0xCAFEBABF if wide else 0xCAFEBABE, len(slices)) + entries
    return header.ljust(0x4000, b"\0") + body
