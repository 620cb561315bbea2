"""The names of this host's system and processor, as in ``LibraryInfo``."""

from __future__ import annotations

import os
import sys

__all__ = ["this_machine", "this_system"]

_SYSTEMS = {"darwin": "macos", "win32": "windows", "cygwin": "windows"}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "x86", "i686": "x86", "win32": "x86"}


def this_system() -> str:
    """Returns ``"linux"``, ``"macos"`` or ``"windows"``, or Python's name of another system."""
    return _SYSTEMS.get(sys.platform, sys.platform.rstrip("0123456789"))


def this_machine() -> str:
    """Returns the processor architecture of this process: ``"x86_64"``, ``"aarch64"`` and so on.

    On Windows this is the architecture that the interpreter was built for, because an emulated process sees the name of
    the real processor.
    """
    if sys.platform == "win32":
        import sysconfig

        name = sysconfig.get_platform().removeprefix("win-")
    else:
        name = os.uname().machine
    return _MACHINES.get(name.lower(), name.lower())
