"""The names of this host's system and processor, as ``LibraryInfo`` writes them."""

from __future__ import annotations

import platform
import sys
import sysconfig

__all__ = ["this_machine", "this_system"]

_SYSTEMS = {"darwin": "macos", "win32": "windows", "cygwin": "windows"}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "x86", "i686": "x86", "win32": "x86"}


def this_system() -> str:
    """Returns ``"linux"``, ``"macos"`` or ``"windows"``, or what Python calls another system."""
    return _SYSTEMS.get(sys.platform, sys.platform.rstrip("0123456789"))


def this_machine() -> str:
    """Returns ``"x86_64"``, ``"aarch64"`` and so on: what the code of this process runs on.

    Windows tells an emulated process the name of the real processor, so there the interpreter's own build is
    asked.
    """
    name = sysconfig.get_platform().removeprefix("win-") if sys.platform == "win32" else platform.machine()
    return _MACHINES.get(name.lower(), name.lower())
