"""Whether a library would load as a plugin, told from what its file says alone."""

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

#: What dlopen and LoadLibrary take.
_LOADABLE = {"shared library", "bundle"}


def problems(info: LibraryInfo, *, system: str | None = None, machine: str | None = None) -> list[PluginLoadError]:
    """Returns every known reason why the library would not load, the weightiest first.

    What only the dynamic linker can tell, such as a dependency that is missing, is not among them.

    Args:
        info: The library.
        system: The system of the host in question, by default this one.
        machine: Its processor, by default this one.
    """
    system = system or this_system()
    machine = machine or this_machine()
    plugin = info.manifest["name"] if info.manifest else None
    found: list[PluginLoadError] = []
    if info.bits != 64:
        found.append(
            WrongPlatformError(
                f"{info.path}: a {info.bits}-bit library ({info.system} {' '.join(info.architectures)}); "
                f"plugins are 64-bit, here for {system} {machine}",
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
                f"{info.path}: the file's kind is {info.kind!r}; a plugin is a shared library",
                path=info.path,
                plugin=plugin,
            )
        )
    missing = [symbol for symbol in REQUIRED_SYMBOLS if symbol not in info.exports]
    # Of a 32-bit file nothing more is known.
    if missing and info.bits == 64:
        found.append(
            MissingSymbolsError(
                f"{info.path}: {'not a plugin: ' if len(missing) == len(REQUIRED_SYMBOLS) else ''}"
                f"it does not export {', '.join(missing)}; backworks_plugin.h tells what each must do",
                path=info.path,
                symbols=missing,
                plugin=plugin,
            )
        )
    if info.manifest_problem is not None:
        found.append(ManifestError(f"{info.path}: the manifest is broken: {info.manifest_problem}", path=info.path))
    if info.manifest is not None and info.manifest["abi"] != ABI_VERSION:
        found.append(
            AbiVersionError(
                f"{info.path}: the manifest says ABI version {info.manifest['abi']}; "
                f"this host speaks version {ABI_VERSION}: build the plugin against its backworks_plugin.h",
                path=info.path,
                found=info.manifest["abi"],
                wanted=ABI_VERSION,
                plugin=plugin,
            )
        )
    return found
