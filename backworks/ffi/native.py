"""The binding that is compiled: ``backworks.ffi._native``, made from ``native/binding``.

It is the fastest, and the one that needs a wheel or a C compiler. Beyond the contract it takes, wherever bytes are
asked for, also ``str`` (as UTF-8) and any object with a buffer, without a copy. A plugin's log record that comes while
the interpreter ends is dropped.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from backworks.ffi import _native

if TYPE_CHECKING:
    from backworks.ffi.contract import Library

__all__ = ["NativeBinding", "create"]

# Before the interpreter is taken down: a plugin's thread that asks a finalised interpreter for its lock crashes.
atexit.register(_native.stop_logging)


class NativeBinding:
    """The binding ``native``."""

    name = "native"

    def open(self, path: str) -> Library:
        """Opens the library at an absolute path. Raises ``OSError`` with the dynamic linker's words."""
        return _native.open(path)


def create() -> NativeBinding:
    """Returns the binding."""
    return NativeBinding()
