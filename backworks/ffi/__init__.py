"""The only package that calls C: a contract, several bindings, and the choice between them.

The environment variable ``BACKWORKS_FFI`` selects the binding. By default it is the compiled one if it was built, and
otherwise the next of :data:`BINDINGS`. An unknown name, or a binding that does not work here, is an error, never a
silent fallback.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from backworks.ffi.contract import Binding

__all__ = ["BINDINGS", "binding", "binding_named", "compiled"]

#: The bindings by name, the preferred one first, each with the module that has its ``create`` function.
BINDINGS = {
    "native": "backworks.ffi.native",
    "cffi": "backworks.ffi.cffi_binding",
    "ctypes": "backworks.ffi.ctypes_binding",
}


def binding_named(name: str) -> Binding:
    """Creates the binding with a name.

    Raises:
        ValueError: The name is unknown; the message lists the known ones.
        ImportError: The binding does not work in this installation; the message says why.
    """
    try:
        module = BINDINGS[name]
    except KeyError:
        raise ValueError(f"the binding must be {_either(BINDINGS)}, not {name!r}") from None
    try:
        return cast("Binding", importlib.import_module(module).create())
    except ImportError as error:
        raise ImportError(
            f"the binding {name!r} does not work in this installation ({error}); "
            f"set BACKWORKS_FFI to {_either(other for other in BINDINGS if other != name)}"
        ) from error


@functools.cache
def binding() -> Binding:
    """Returns the binding of this process: the one in ``BACKWORKS_FFI``, or the default.

    Raises:
        ValueError: ``BACKWORKS_FFI`` is not the name of a binding.
        ImportError: The binding does not work here.
    """
    wanted = os.environ.get("BACKWORKS_FFI")
    if wanted is None:
        # A broken extension is an error too: with a fallback, calls would silently cost ten times more.
        built = importlib.util.find_spec("backworks.ffi._native") is not None
        return binding_named("native" if built else "cffi")
    try:
        return binding_named(wanted)
    except ValueError as error:
        raise ValueError(f"invalid environment variable BACKWORKS_FFI: {error}") from None


def compiled() -> ModuleType | None:
    """Returns the extension module, or ``None`` where another binding was chosen or nothing was built.

    It is where compiled twins of Python classes come from: each place that has a choice asks here, so that
    ``BACKWORKS_FFI`` decides about all of them at once. Raises as :func:`binding`.
    """
    return binding().compiled


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
