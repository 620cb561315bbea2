"""From a file to an open library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backworks.authoring.conformance.catalogue import check
from backworks.authoring.conformance.results import Failed
from backworks.ffi.contract import ABI_VERSION

if TYPE_CHECKING:
    from backworks.authoring.conformance.subject import Subject


@check("loading", "after the library has been opened; no instance is needed", needs=("symbols-required",))
def opens(subject: Subject) -> str:
    """The library can be opened, with every symbol bound immediately and none exported to others."""
    try:
        subject.open()
    except OSError as error:
        raise Failed(
            f"the dynamic linker reports: {error}", "a library that contains or links to everything it needs"
        ) from None
    return f"opened; it needs {', '.join(subject.info.needed) or 'no other library'}"


@check("loading", "Returns the BACKWORKS_ABI_VERSION that the library was compiled with", needs=("opens",))
def abi_version(subject: Subject) -> str:
    """The library reports this version of the ABI on every call, before any other function is called."""
    found = [subject.function("abi_version")() for _ in range(3)]
    if set(found) != {ABI_VERSION}:
        raise Failed(
            f"backworks_plugin_abi_version() returned {', then '.join(map(str, dict.fromkeys(found)))}",
            f"{ABI_VERSION}: BACKWORKS_ABI_VERSION of the header",
        )
    return f"returns {ABI_VERSION}"
