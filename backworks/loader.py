"""From a path to a verified, opened library, and from that to a running plugin."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backworks import ffi
from backworks.answers import check_init, code_of
from backworks.direct import inline_plugin
from backworks.errors import (
    AbiVersionError,
    Code,
    ConfigError,
    IdentityError,
    LinkError,
    ManifestError,
    MissingSymbolsError,
    PluginContractError,
    PluginLoadError,
    PluginNotFound,
)
from backworks.ffi.contract import (
    ABI_VERSION,
    REQUIRED_SYMBOLS,
    ContractViolation,
)
from backworks.inspection import LibraryInfo, inspect_library, problems
from backworks.inspection.manifest import NAME
from backworks.inspection.semver import SEMVER
from backworks.isolation.threaded import thread_runner
from backworks.lifecycle import check_timeout
from backworks.paths import resolve_library
from backworks.plugin import Plugin, PluginInfo
from backworks.schema import absolute_paths, violations
from backworks.staging import Staged, stage, stage_beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from backworks.ffi.contract import Binding, Engine, Library

__all__ = ["DynamicPluginLoader", "LoadedLibrary", "check_isolation", "load", "run", "start"]

#: How many calls a plugin with ``isolation: thread`` takes at a time, where nothing is said.
DEFAULT_WORKERS = 4

_GRAMMAR = {"name": NAME, "version": SEMVER}
_ACCEPTED = {
    "name": "UTF-8 text of 1 to 64 characters of [a-z0-9._-], the first a letter or a digit,",
    "version": 'UTF-8 text as in semver.org ("1.2.0")',
}


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
        self._binding = binding or ffi.binding()

    def load(self, path: str | Path) -> LoadedLibrary:
        """Opens the library at a path, or at a stem: ``plugins/weather`` is ``plugins/libweather.so`` on Linux.

        Nothing of the file runs before it was found to be a library for this machine that exports the ABI's symbols. A
        file that was loaded before and has not changed is not opened a second time.

        Raises:
            PluginLoadError: It cannot be loaded; the subclass and the text say why.
        """
        found = resolve_library(path).absolute()
        try:
            staged = stage(found)
        except OSError as error:
            raise PluginNotFound(f"{found}: cannot be read: {error.strerror or error}", path=path) from error
        with _speaking_of(found, instead_of=staged.path):
            info = inspect_library(staged.path)
            for problem in problems(info):
                raise problem
        _stage_dependencies(staged, found.parent, info)
        try:
            library = self._binding.open(str(staged.path))
        except OSError as error:
            text = str(error).replace(str(staged.path), found.name)
            raise LinkError(f"{found}: the dynamic linker refuses it: {text}", path=found) from error
        self._check_abi(library, found)
        return self._identify(library, found, staged, info)

    @staticmethod
    def _check_abi(library: Library, path: Path) -> None:
        missing = sorted(set(REQUIRED_SYMBOLS) - library.symbols())
        if missing:
            raise MissingSymbolsError(
                f"{path}: the dynamic linker does not find {', '.join(missing)}", path=path, symbols=missing
            )
        found = library.abi_version()
        if found != ABI_VERSION:
            raise AbiVersionError(
                f"{path}: speaks version {found} of the plugin ABI, this host version {ABI_VERSION}: rebuild the "
                "plugin with this host's backworks_plugin.h, or use the host that it was built for",
                path=path,
                found=found,
                wanted=ABI_VERSION,
            )

    @staticmethod
    def _identify(library: Library, path: Path, staged: Staged, info: LibraryInfo) -> LoadedLibrary:
        manifest = info.manifest
        found = {
            "name": _identity(library.name(), "name", path),
            "version": _identity(library.version(), "version", path),
        }
        for member, value in found.items():
            if manifest is not None and manifest[member] != value:
                raise ManifestError(
                    f"{path}: backworks_plugin_{member}() returns {value!r}, its manifest says "
                    f"{manifest[member]!r}: they must be equal",
                    path=path,
                )
        description = str((manifest or {}).get("description", ""))
        if not description and "backworks_plugin_description" in library.symbols():
            description = (library.description() or b"").decode("utf-8", "replace")
        return LoadedLibrary(path, staged, found["name"], found["version"], description, manifest, library)


def start(
    loaded: LoadedLibrary,
    config: Mapping[str, Any] | None = None,
    *,
    base: Path | None = None,
    plugin_id: str | None = None,
    isolation: str = "none",
    workers: int = DEFAULT_WORKERS,
    timeout: float | None = None,
) -> Plugin:
    """Makes an instance of a library and puts it to work.

    Args:
        loaded: The library.
        config: The plugin's own configuration; anything that JSON can hold.
        base: Where relative paths in it start, if the plugin's schema says that they are paths; without it they are
            left as they are.
        plugin_id: What the host calls the plugin; without it, its own name.
        isolation: ``"none"`` (the caller's thread) or ``"thread"`` (threads of its own).
        workers: With ``"thread"``, how many calls may run at a time.
        timeout: With ``"thread"``, seconds that a call may take.

    Raises:
        PluginInitError: The plugin refuses.
        PluginContractError: Its init broke a rule of the ABI.
        ConfigError: The configuration breaks the schema of the plugin's manifest.
        ValueError: The isolation, the number of workers or the timeout is none.
    """
    check_isolation(isolation, workers, timeout)
    plugin_id = plugin_id or loaded.name
    config = config or {}
    _check_config(config, loaded.manifest, plugin_id)
    if base is not None and loaded.manifest is not None:
        config = absolute_paths(config, loaded.manifest.get("config_schema"), base)
    text = json.dumps(config, ensure_ascii=False, allow_nan=False)
    try:
        reply, instance = loaded.library.init(text.encode(), logging.getLogger(f"backworks.plugin.{plugin_id}").log)
    except ContractViolation as violation:
        raise PluginContractError(f"init: {violation}", plugin=plugin_id) from None
    engine = check_init(reply, instance, plugin_id)
    info = PluginInfo(
        plugin_id,
        loaded.name,
        loaded.version,
        loaded.description,
        loaded.manifest,
        loaded.path,
        isolation,
        "backworks_plugin_health_check" in loaded.library.symbols(),
    )
    thread_safe = (loaded.manifest or {}).get("thread_safe", True) is not False
    return run(info, engine, thread_safe=thread_safe, workers=workers, timeout=timeout)


def run(info: PluginInfo, engine: Engine, *, thread_safe: bool, workers: int, timeout: float | None) -> Plugin:
    """Puts an initialised engine behind the isolation that ``info`` names; see :func:`start`."""

    def shutdown() -> None:
        logger = logging.getLogger(f"backworks.plugin.{info.id}")
        try:
            code = code_of(engine.shutdown())
        except Exception:
            logger.exception("its shutdown failed")
        else:
            if code is not Code.OK:
                logger.warning("its shutdown returned %s", code.name)

    if info.isolation == "none":
        return inline_plugin(info, engine, shutdown, thread_safe=thread_safe, timeout=timeout)
    runner = thread_runner(info.id, engine, shutdown, workers=workers if thread_safe else 1)
    return Plugin(info, runner, timeout)


def load(
    path: str | Path,
    config: Mapping[str, Any] | None = None,
    *,
    isolation: str = "none",
    workers: int = DEFAULT_WORKERS,
    timeout: float | None = None,
) -> Plugin:
    """Loads a plugin from a file and starts it.

    ::

        with backworks.load("plugins/weather", {"reports": "reports.txt"}) as weather:
            print(weather.process_endpoint_data("/api/weather/KJFK"))

    Args:
        path: The library, or its stem: ``plugins/weather`` finds ``libweather.so``, ``libweather.dylib`` or
            ``weather.dll``, as this system has it.
        config: The plugin's own configuration; anything that JSON can hold.
        isolation: ``"none"``: calls run in the caller's thread. ``"thread"``: in threads of the plugin's own.
        workers: With ``"thread"``, how many calls may run at a time.
        timeout: With ``"thread"``, seconds that a call may take; with ``"none"`` the plugin is told, and no more.

    Raises:
        PluginLoadError: The file cannot be loaded; the subclass and the text say why.
        ConfigError: The configuration breaks the schema of the plugin's manifest.
        PluginInitError: The plugin refuses to start.
        PluginContractError: Its init broke a rule of the ABI.
        ValueError: The isolation, the number of workers or the timeout is none.
    """
    check_isolation(isolation, workers, timeout)
    return start(DynamicPluginLoader().load(path), config, isolation=isolation, workers=workers, timeout=timeout)


def check_isolation(isolation: str, workers: int, timeout: float | None) -> None:
    """Checks the three arguments.

    Raises:
        ValueError: One of them is not accepted.
    """
    if isolation == "process":
        raise ValueError("isolation 'process': worker processes are not part of this version; use 'thread' or 'none'")
    if isolation not in ("none", "thread"):
        raise ValueError(f"isolation {isolation!r} is none: 'none' and 'thread' are")
    if workers < 1:
        raise ValueError(f"workers is {workers}; it takes at least 1")
    check_timeout(timeout)


def _check_config(config: Mapping[str, Any], manifest: Mapping[str, Any] | None, plugin_id: str) -> None:
    if manifest is not None and "config_schema" in manifest:
        found = violations(config, manifest["config_schema"])
        if found:
            raise ConfigError(
                [f"{'.'.join(map(str, ('config', *where)))}: {message}" for where, message in found],
                plugin=plugin_id,
            )


def _stage_dependencies(staged: Staged, directory: Path, info: LibraryInfo) -> None:
    """Copies along what the library needs and finds beside itself, and what that needs in turn."""
    seen = {staged.path.name}
    waiting = list(info.needed)
    while waiting:
        name = re.split(r"[/\\]", waiting.pop())[-1]  # "@loader_path/libfoo.dylib" on macOS
        original = directory / name
        if name in seen or not original.is_file():
            continue
        seen.add(name)
        waiting += inspect_library(stage_beside(staged, original)).needed


@contextlib.contextmanager
def _speaking_of(path: Path, *, instead_of: Path) -> Iterator[None]:
    """Lets errors about the private copy name the file that the user knows."""
    try:
        yield
    except PluginLoadError as error:
        error.args = (str(error).replace(str(instead_of), str(path)),)
        error.path = str(path)
        raise


def _identity(text: bytes | None, member: str, path: Path) -> str:
    if text is None:
        found = "NULL"
    else:
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            decoded = ""
        if _GRAMMAR[member].fullmatch(decoded):
            return decoded
        found = repr(decoded or text[:64])
    raise IdentityError(
        f"{path}: backworks_plugin_{member}() returns {found}; {_ACCEPTED[member]} is accepted", path=path
    )
