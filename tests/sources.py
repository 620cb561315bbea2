"""The C files that the extension module and the worker program are built from."""

from __future__ import annotations

from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent / "native"

#: Of ``backworks.ffi._native``.
EXTENSION = sorted(path for part in ("binding", "fastpath", "wire") for path in (NATIVE / part).glob("*.c"))

#: Of ``backworks-worker``; ``platform_windows.c`` is for Windows alone.
WORKER = sorted([*(NATIVE / "wire").glob("*.c"), *(NATIVE / "worker").glob("*.c")])
