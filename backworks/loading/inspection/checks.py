"""Checks whether a library can be loaded as a plugin, from its file alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backworks.errors import (
    AbiVersionError,
    ManifestError,
    MissingSymbolsError,
    NotALibraryError,
    PluginLoadError,
    WrongPlatformError,
)
from backworks.ffi.contract import ABI_VERSION, REQUIRED_SYMBOLS
from backworks.loading.inspection.host import this_machine, this_system

if TYPE_CHECKING:
    from backworks.loading.inspection.library import LibraryInfo

__all__ = ["problems"]

#: The kinds of file that dlopen and LoadLibrary accept.
_LOADABLE = {"shared library", "bundle"}


def problems(info: LibraryInfo, *, system: str | None = None, machine: str | None = None) -> list[PluginLoadError]:
    """Returns every known reason why the library cannot be loaded, the most important first.

    Problems that only the dynamic linker can detect, such as a missing dependency, are not included.

    Args:
        info: The library.
        system: The host's system; by default this one.
        machine: The host's processor; by default this one.
    """
    system = system or this_system()
    machine = machine or this_machine()
    plugin = info.manifest["name"] if info.manifest else None
    found: list[PluginLoadError] = []
    if info.bits != 64:
        found.append(
            WrongPlatformError(
                f"{info.path}: a {info.bits}-bit library ({info.system} {' '.join(info.architectures)}); "
                f"this host needs a 64-bit one for {system} {machine}",
                path=info.path,
            )
        )
    elif info.system != system or machine not in info.architectures:
        found.append(
            WrongPlatformError(
                f"{info.path}: built for {info.system} {' and '.join(info.architectures)}; "
                f"this host needs {system} {machine}",
                path=info.path,
                plugin=plugin,
            )
        )
    if info.kind not in _LOADABLE:
        found.append(
            NotALibraryError(
                f"{info.path}: a plugin must be a shared library, not a file of kind {info.kind!r}",
                path=info.path,
                plugin=plugin,
            )
        )
    missing = [symbol for symbol in REQUIRED_SYMBOLS if symbol not in info.exports]
    # The symbols of a 32-bit file are not read.
    if missing and info.bits == 64:
        found.append(
            MissingSymbolsError(
                f"{info.path}: {'not a plugin: ' if len(missing) == len(REQUIRED_SYMBOLS) else ''}"
                f"the library does not export {', '.join(missing)}; see backworks_plugin.h",
                path=info.path,
                symbols=missing,
                plugin=plugin,
            )
        )
    if info.manifest_problem is not None:
        found.append(ManifestError(f"{info.path}: the manifest is invalid: {info.manifest_problem}", path=info.path))
    if info.manifest is not None and info.manifest["abi"] != ABI_VERSION:
        found.append(
            AbiVersionError(
                f"{info.path}: the manifest has ABI version {info.manifest['abi']}, but this host has version "
                f"{ABI_VERSION}: rebuild the plugin with the host's backworks_plugin.h",
                path=info.path,
                found=info.manifest["abi"],
                wanted=ABI_VERSION,
                plugin=plugin,
            )
        )
    return found
