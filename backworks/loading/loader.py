"""Opens and verifies a plugin's library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backworks import ffi
from backworks.ffi.contract import REQUIRED_SYMBOLS
from backworks.loading.identity import check_abi, identify, link_error, missing_symbols
from backworks.loading.inspection import isolation_problem
from backworks.loading.linked import opening
from backworks.loading.prepared import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backworks.ffi.contract import Binding, Library
    from backworks.loading.staging import Staged

__all__ = ["DynamicPluginLoader", "LoadedLibrary"]


@dataclass(frozen=True)
class LoadedLibrary:
    """An open library that is a plugin of this ABI, without instances so far.

    Attributes:
        path: The original file.
        staged: The private copy that is open, and its hash.
        name, version, description: The return values of its functions.
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
    """Opens plugin libraries: finds the file, copies it, checks the copy, opens it, and checks what it reports.

    Args:
        binding: The binding; by default the one that ``BACKWORKS_FFI`` selects.
    """

    def __init__(self, binding: Binding | None = None) -> None:
        self._binding = binding

    def load(self, path: str | Path) -> LoadedLibrary:
        """Opens the library at a path or a stem: ``plugins/weather`` stands for ``plugins/libweather.so`` on Linux.

        None of the file's code runs before the host has verified that it is a library for this machine that exports the
        ABI's symbols. A file that is already open and has not changed is not opened again.

        Raises:
            PluginLoadError: The library cannot be loaded; the subclass and the message give the reason.
        """
        return self.open(prepare(path))

    def open(self, prepared: Prepared) -> LoadedLibrary:
        """Opens a prepared library; see :meth:`load`.

        Raises:
            PluginLoadError: The library cannot be loaded; the subclass and the message give the reason.
        """
        path, staged, manifest = prepared.path, prepared.staged, prepared.manifest
        prepared.check("none" if isolation_problem(manifest, "thread") else "thread")  # either in-process isolation
        binding = self._binding or ffi.binding()
        try:
            with opening(staged):
                library = binding.open(str(staged.verified()))
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
