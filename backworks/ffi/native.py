"""The compiled binding: ``backworks.ffi._native``, built from ``native/binding`` and ``native/fastpath``.

It is the fastest, but needs a wheel or a C compiler. Beyond the contract, it accepts ``str`` (as UTF-8) and any object
with a buffer in place of bytes, without a copy. Log records are dropped while the interpreter shuts down.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from backworks.ffi import _native

if TYPE_CHECKING:
    from backworks.ffi.contract import Library

__all__ = ["NativeBinding", "create"]

# Runs before finalisation: a plugin's thread that acquires the lock of a finalised interpreter crashes.
atexit.register(_native.stop_logging)


class NativeBinding:
    """The binding ``native``."""

    name = "native"
    compiled = _native

    def open(self, path: str) -> Library:
        """Opens the library at an absolute path. Raises ``OSError`` with the dynamic linker's message."""
        return _native.open(path)


def create() -> NativeBinding:
    """Returns the binding."""
    return NativeBinding()
