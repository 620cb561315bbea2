"""The only package that touches C: one contract, several bindings, one choice.

``BACKWORKS_FFI`` in the environment names the binding; without it the compiled one is taken where it was built, and the
next of :data:`BINDINGS` elsewhere. A name that is unknown, or a binding that does not work here, is an error and never
a silent fallback.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backworks.ffi.contract import Binding

__all__ = ["BINDINGS", "binding", "binding_named"]

#: The bindings by name, the preferred one first, with the module that has a ``create`` function for it.
BINDINGS = {
    "native": "backworks.ffi.native",
    "cffi": "backworks.ffi.cffi_binding",
    "ctypes": "backworks.ffi.ctypes_binding",
}


def binding_named(name: str) -> Binding:
    """Makes the binding of that name.

    Raises:
        ValueError: There is no binding of that name; the text lists those there are.
        ImportError: The binding does not work in this installation; the text says why.
    """
    try:
        module = BINDINGS[name]
    except KeyError:
        raise ValueError(f"there is no binding {name!r}: use {_either(BINDINGS)}") from None
    try:
        return cast("Binding", importlib.import_module(module).create())
    except ImportError as error:
        raise ImportError(
            f"the binding {name!r} does not work in this installation ({error}); "
            f"set BACKWORKS_FFI to another one: {_either(other for other in BINDINGS if other != name)}"
        ) from error


@functools.cache
def binding() -> Binding:
    """Returns the binding of this process: the one that ``BACKWORKS_FFI`` names, or the default.

    Raises:
        ValueError: ``BACKWORKS_FFI`` names none.
        ImportError: The one that it names does not work here.
    """
    wanted = os.environ.get("BACKWORKS_FFI")
    if wanted is None:
        # An extension that is there but broken is an error, too: calls would cost ten times more and nobody know why.
        built = importlib.util.find_spec("backworks.ffi._native") is not None
        return binding_named("native" if built else "cffi")
    try:
        return binding_named(wanted)
    except ValueError as error:
        raise ValueError(f"the environment variable BACKWORKS_FFI: {error}") from None


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
