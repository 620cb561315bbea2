"""From a path to a verified, opened library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backworks import ffi
from backworks.ffi.contract import REQUIRED_SYMBOLS
from backworks.loading.identity import check_abi, identify, link_error, missing_symbols
from backworks.loading.inspection import isolation_problem
from backworks.loading.prepared import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backworks.ffi.contract import Binding, Library
    from backworks.loading.staging import Staged

__all__ = ["DynamicPluginLoader", "LoadedLibrary"]


@dataclass(frozen=True)
class LoadedLibrary:
    """A library that was opened and found to be a plugin of this ABI. None of its instances is made yet.

    Attributes:
        path: The file that was asked for.
        staged: The private copy that is open, and its hash.
        name, version, description: What its functions returned.
        manifest: Its manifest, or ``None``.
        library: The binding's handle.
    """

    path: Path
    staged: Staged
    name: str
    version: str
    description: str
    manifest: Mapping[str, Any] | None
    library: Library


class DynamicPluginLoader:
    """Opens plugin libraries: path, private copy, checks, ``dlopen``, more checks; in this order.

    Args:
        binding: The way to call C; without it the one that ``BACKWORKS_FFI`` or the installation says.
    """

    def __init__(self, binding: Binding | None = None) -> None:
        self._binding = binding

    def load(self, path: str | Path) -> LoadedLibrary:
        """Opens the library at a path, or at a stem: ``plugins/weather`` is ``plugins/libweather.so`` on Linux.

        Nothing of the file runs before it was found to be a library for this machine that exports the ABI's symbols. A
        file that was loaded before and has not changed is not opened a second time.

        Raises:
            PluginLoadError: It cannot be loaded; the subclass and the text say why.
        """
        return self.open(prepare(path))

    def open(self, prepared: Prepared) -> LoadedLibrary:
        """Does what :meth:`load` does after the library was prepared.

        Raises:
            PluginLoadError: It cannot be loaded; the subclass and the text say why.
        """
        path, staged, manifest = prepared.path, prepared.staged, prepared.manifest
        prepared.check("none" if isolation_problem(manifest, "thread") else "thread")  # one way in is enough
        binding = self._binding or ffi.binding()
        try:
            library = binding.open(str(staged.path))
        except OSError as error:
            raise link_error(path, staged.path, str(error)) from error
        symbols = library.symbols()
        missing = sorted(set(REQUIRED_SYMBOLS) - symbols)
        if missing:
            raise missing_symbols(path, missing)
        check_abi(path, library.abi_version())
        description = library.description() if "backworks_plugin_description" in symbols else None
        identity = identify(path, library.name(), library.version(), description, manifest)
        return LoadedLibrary(path, staged, *identity, manifest, library)
