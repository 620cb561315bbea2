"""From a path to a verified, opened library, and from that to a running plugin."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backworks import ffi
from backworks.direct import inline_plugin, outer_plugin
from backworks.errors import (
    Code,
    ConfigError,
    IsolationError,
    PluginContractError,
    PluginLoadError,
    PluginNotFound,
)
from backworks.ffi.contract import REQUIRED_SYMBOLS, ContractViolation
from backworks.isolation.channels.inline import InlineRunner
from backworks.isolation.channels.thread import thread_runner
from backworks.isolation.guard import guarded
from backworks.isolation.lifecycle import check_timeout
from backworks.isolation.options import ProcessOptions
from backworks.isolation.policy import Policy
from backworks.loading.identity import check_abi, identify, link_error, missing_symbols
from backworks.loading.inspection import LibraryInfo, inspect_library, isolation_problem, problems
from backworks.loading.paths import resolve_library
from backworks.loading.schema import absolute_paths, violations
from backworks.loading.staging import Staged, stage, stage_beside
from backworks.plugin import Plugin, PluginInfo
from backworks.reply import check_init, code_of
from backworks.workers import start_workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from backworks.ffi.contract import Binding, Engine, Library

__all__ = ["DynamicPluginLoader", "LoadedLibrary", "Prepared", "check_isolation", "load", "run", "start"]

#: How many calls a plugin with ``isolation: thread`` takes at a time, where nothing is said.
DEFAULT_WORKERS = 4


@dataclass(frozen=True)
class Prepared:
    """A library that can be opened, by this process or by a worker. Nothing of it has run.

    Attributes:
        path: The file that was asked for.
        staged: The private copy that will be opened, and its hash.
        manifest: Its manifest, or ``None``.
    """

    path: Path
    staged: Staged
    manifest: Mapping[str, Any] | None


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
        return self.open(self.prepare(path))

    def prepare(self, path: str | Path) -> Prepared:
        """Does what :meth:`load` does before the library is opened.

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
        return Prepared(found, staged, info.manifest)

    def open(self, prepared: Prepared) -> LoadedLibrary:
        """Does the rest of what :meth:`load` does.

        Raises:
            PluginLoadError: It cannot be loaded; the subclass and the text say why.
        """
        path, staged, manifest = prepared.path, prepared.staged, prepared.manifest
        if isolation_problem(manifest, "thread"):
            _check_accepted(prepared, "none")  # of the two ways into this process, one is enough
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


def start(
    loaded: LoadedLibrary | Prepared,
    config: Mapping[str, Any] | None = None,
    *,
    base: Path | None = None,
    plugin_id: str | None = None,
    isolation: str = "none",
    workers: int | None = None,
    timeout: float | None = None,
    process: ProcessOptions = ProcessOptions(),  # noqa: B008  # it is frozen
    policy: Policy = Policy(),  # noqa: B008  # it is frozen
) -> Plugin:
    """Makes an instance of a library and puts it to work.

    Args:
        loaded: The library.
        config: The plugin's own configuration; anything that JSON can hold.
        base: Where relative paths in it start, if the plugin's schema says that they are paths; without it they are
            left as they are.
        plugin_id: What the host calls the plugin; without it, its own name.
        isolation: ``"none"`` (the caller's thread), ``"thread"`` (threads of its own) or ``"process"`` (processes of
            its own; only the ``Prepared`` library is needed for that).
        workers: How many calls may run at a time, each in a thread or process; without it 4 threads or 1 process.
        timeout: Seconds that a call may take.
        process: The settings of worker processes.
        policy: How it is supervised.

    Raises:
        IsolationError: The plugin's manifest does not accept the isolation.
        PluginLoadError: The library cannot be loaded; only if that was left to this function.
        PluginInitError: The plugin refuses.
        PluginTimeout, PluginCrashed: A worker process did not start.
        PluginContractError: Its init broke a rule of the ABI.
        ConfigError: The configuration breaks the schema of the plugin's manifest.
        ValueError: The isolation, the number of workers or the timeout is none.
    """
    workers = check_isolation(isolation, workers, timeout)
    _check_accepted(loaded, isolation)
    if isolation != "process" and isinstance(loaded, Prepared):
        loaded = DynamicPluginLoader().open(loaded)
    name = loaded.name if isinstance(loaded, LoadedLibrary) else (loaded.manifest or {}).get("name")
    config = config or {}
    _check_config(config, loaded.manifest, plugin_id or name)
    if base is not None and loaded.manifest is not None:
        config = absolute_paths(config, loaded.manifest.get("config_schema"), base)
    text = json.dumps(config, ensure_ascii=False, allow_nan=False).encode()
    if isolation == "process":
        return start_workers(
            loaded.path,
            loaded.staged,
            loaded.manifest,
            text,
            plugin_id=plugin_id,
            workers=workers,
            timeout=timeout,
            process=process,
            policy=policy,
        )
    assert isinstance(loaded, LoadedLibrary)  # noqa: S101  # for the type checker
    return _start_here(loaded, text, plugin_id or loaded.name, isolation, workers, timeout, policy)


def _start_here(
    loaded: LoadedLibrary,
    config: bytes,
    plugin_id: str,
    isolation: str,
    workers: int,
    timeout: float | None,
    policy: Policy,
) -> Plugin:
    """Starts a plugin in this process."""
    try:
        reply, instance = loaded.library.init(config, logging.getLogger(f"backworks.plugin.{plugin_id}").log)
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
    return run(info, engine, thread_safe=thread_safe, workers=workers, timeout=timeout, policy=policy)


def run(
    info: PluginInfo, engine: Engine, *, thread_safe: bool, workers: int, timeout: float | None, policy: Policy
) -> Plugin:
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

    if info.isolation == "none" and policy.breaker is None:
        return inline_plugin(info, engine, shutdown, thread_safe=thread_safe, timeout=timeout)
    if info.isolation == "none":  # a call that passes the breaker is no longer the binding's own method
        inline = InlineRunner(info.id, engine, shutdown, thread_safe=thread_safe)
        return outer_plugin(info, guarded(info.id, inline, policy), timeout)
    threads = workers if thread_safe else 1
    runner = thread_runner(info.id, engine, shutdown, workers=threads)
    return outer_plugin(info, guarded(info.id, runner, policy, workers=threads), timeout)


def load(
    path: str | Path,
    config: Mapping[str, Any] | None = None,
    *,
    isolation: str = "none",
    workers: int | None = None,
    timeout: float | None = None,
    process: ProcessOptions = ProcessOptions(),  # noqa: B008  # it is frozen
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
            ``"process"``: in processes of its own, so that it cannot crash or corrupt this one.
        workers: How many calls may run at a time, each in a thread or process; without it 4 threads or 1 process.
        timeout: Seconds that a call may take. With ``"process"`` one that takes longer is ended with its process, with
            ``"thread"`` it is given up; with ``"none"`` the plugin is told, and no more.
        process: The settings of ``"process"``.

    Raises:
        PluginLoadError: The file cannot be loaded, or not with this isolation; the subclass and the text say why.
        ConfigError: The configuration breaks the schema of the plugin's manifest.
        PluginInitError: The plugin refuses to start.
        PluginTimeout, PluginCrashed: A worker process did not start.
        PluginContractError: Its init broke a rule of the ABI.
        ValueError: The isolation, the number of workers or the timeout is none.
    """
    check_isolation(isolation, workers, timeout)
    prepared = DynamicPluginLoader().prepare(path)
    return start(prepared, config, isolation=isolation, workers=workers, timeout=timeout, process=process)


def check_isolation(isolation: str, workers: int | None, timeout: float | None) -> int:
    """Checks the three arguments, and returns the number of workers, which has a default of its own for each isolation.

    Raises:
        ValueError: One of them is not accepted.
    """
    if isolation not in ("none", "thread", "process"):
        raise ValueError(f"isolation {isolation!r} is none: 'none', 'thread' and 'process' are")
    check_timeout(timeout)
    if workers is None:
        return 1 if isolation == "process" else DEFAULT_WORKERS
    if workers < 1:
        raise ValueError(f"workers is {workers}; it takes at least 1")
    return workers


def _check_accepted(loaded: LoadedLibrary | Prepared, isolation: str) -> None:
    problem = isolation_problem(loaded.manifest, isolation)
    if problem is not None:
        assert loaded.manifest is not None  # noqa: S101  # for the type checker
        raise IsolationError(f"{loaded.path}: {problem}", path=loaded.path, plugin=loaded.manifest["name"])


def _check_config(config: Mapping[str, Any], manifest: Mapping[str, Any] | None, plugin_id: str | None) -> None:
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
