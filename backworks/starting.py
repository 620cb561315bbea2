"""Starts plugins from a library or a Python object and settings; the only module that knows all isolations."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from backworks import ffi
from backworks.errors import Code, ConfigError, PluginContractError
from backworks.ffi.contract import ContractViolation
from backworks.isolation.admission import Admission
from backworks.isolation.pluginlog import PluginLog
from backworks.isolation.timeouts import check_timeout
from backworks.loading.loader import DynamicPluginLoader
from backworks.loading.paths import plain_name
from backworks.loading.prepared import prepare
from backworks.loading.schema import absolute_paths, violations, with_defaults
from backworks.plugin import Plugin, PluginInfo
from backworks.reply import check_init, code_of
from backworks.settings import Settings

# What only one isolation needs is imported where it is used: a plugin in the calling thread needs no asyncio.

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Unpack

    from backworks.ffi.contract import Engine
    from backworks.isolation.runner import Runner
    from backworks.loading.prepared import Prepared
    from backworks.settings import Isolation, Options

__all__ = ["load", "name_of", "start", "start_object"]


def load(
    path: str | Path,
    config: Mapping[str, Any] | None = None,
    *,
    isolation: Isolation = "none",
    **options: Unpack[Options],
) -> Plugin:
    """Loads a plugin from a file and starts it.

    ::

        with backworks.load("plugins/weather", {"reports": "reports.txt"}) as weather:
            print(weather.process_endpoint_data("/api/weather/KJFK"))

    Args:
        path: The library, or its stem: depending on the system, ``plugins/weather`` stands for ``libweather.so``,
            ``libweather.dylib`` or ``weather.dll``.
        config: The plugin's own configuration, with values that JSON can represent.
        isolation: Where calls run: ``"none"``, in the calling thread; ``"thread"``, in worker threads of the host;
            ``"process"``, in worker processes, so that the plugin cannot crash or corrupt the host.
        **options: Any of ``workers``, ``timeout``, ``queue``, ``breaker``, ``restart``, ``limits``, ``environment`` and
            ``start_timeout``. They have the same meanings and defaults as in a configuration; see
            :class:`backworks.Settings`.

    Raises:
        PluginLoadError: The file cannot be loaded with this isolation; the subclass and the message give the reason.
        ConfigError: The configuration violates the schema in the plugin's manifest.
        PluginInitError: The plugin's init returned an error.
        PluginTimeout, PluginCrashed: A worker process did not start.
        PluginContractError: The plugin's init violated the ABI.
        ValueError: The isolation, the number of workers or the timeout is not valid.
    """
    settings = Settings(isolation=isolation, **options)
    return start(prepare(path), settings, config)


def start(
    prepared: Prepared,
    settings: Settings,
    config: Mapping[str, Any] | None = None,
    *,
    base: Path | None = None,
    plugin_id: str | None = None,
    loader: DynamicPluginLoader | None = None,
) -> Plugin:
    """Creates and starts an instance of a library.

    Args:
        prepared: The library.
        settings: How the plugin runs.
        config: The plugin's own configuration, with values that JSON can represent.
        base: The directory at which relative paths in it start (the plugin's schema declares which values are paths);
            without it, paths stay unchanged.
        plugin_id: The host's name for the plugin; by default the plugin's own name.
        loader: Opens the library if the plugin runs in this process.

    Raises:
        PluginLoadError: The library cannot be loaded with this isolation.
        ConfigError: The configuration violates the schema in the plugin's manifest.
        PluginInitError: The plugin's init returned an error.
        PluginTimeout, PluginCrashed: A worker process did not start.
        PluginContractError: The plugin's init violated the ABI.
        ValueError: The timeout is not valid.
    """
    check_timeout(settings.timeout)
    prepared.check(settings.isolation)
    document = _document(prepared, config or {}, base, plugin_id)
    if settings.isolation == "process":
        return _start_workers(prepared, settings, document, plugin_id)
    return _start_here(prepared, settings, document, plugin_id, loader or DynamicPluginLoader())


def start_object(
    plugin: Any, settings: Settings, config: Mapping[str, Any] | None = None, *, plugin_id: str | None = None
) -> Plugin:
    """Starts a Python object as a plugin.

    Args:
        plugin: A :class:`backworks.BackworksPlugin`, or an object with the same members.
        settings: How the plugin runs.
        config: The argument of its ``initialize``.
        plugin_id: The host's name for the plugin; by default the plugin's own name.

    Raises:
        TypeError: The object is not a plugin.
        PluginInitError: Its ``initialize`` failed.
        ValueError: The isolation is ``"process"``, or the timeout is not valid.
    """
    from backworks.builtin import BuiltinInstance

    check_timeout(settings.timeout)
    if settings.isolation == "process":
        raise ValueError("isolation must be 'thread' or 'none' for a Python object, not 'process'")
    plugin_id = plugin_id or str(getattr(plugin, "name", ""))
    engine = BuiltinInstance(plugin, plugin_id)
    check_init(engine.initialize(config or {}), engine, plugin_id)
    description = getattr(plugin, "description", "")
    info = PluginInfo(plugin_id, plugin.name, plugin.version, description, None, None, settings.isolation, True)
    return _run(info, engine, settings, thread_safe=getattr(plugin, "thread_safe", True))


def name_of(prepared: Prepared, isolation: Isolation) -> str:
    """Returns a plugin's name from its manifest. Without a manifest, opens the library in this process to read it.

    With isolation ``process``, the library is not opened; without a manifest, the name comes from the file.

    Raises:
        PluginLoadError: The library cannot be loaded.
    """
    prepared.check(isolation)
    if prepared.name is not None:
        return prepared.name
    return plain_name(prepared.path) if isolation == "process" else DynamicPluginLoader().open(prepared).name


def _document(prepared: Prepared, config: Mapping[str, Any], base: Path | None, plugin_id: str | None) -> bytes:
    """Returns the plugin's configuration as JSON, with the defaults of its manifest's schema, after checking it."""
    schema = (prepared.manifest or {}).get("config_schema")
    config = with_defaults(config, schema)
    if schema is not None and (found := violations(config, schema)):
        lines = [f"{'.'.join(map(str, ('config', *where)))}: {message}" for where, message, _ in found]
        raise ConfigError(lines, plugin=plugin_id or prepared.name)
    if base is not None:
        config = absolute_paths(config, schema, base)
    return json.dumps(config, ensure_ascii=False, allow_nan=False).encode()


def _start_workers(prepared: Prepared, settings: Settings, config: bytes, plugin_id: str | None) -> Plugin:
    """Starts a plugin in worker processes."""
    from backworks.isolation.channels.process import ProcessRunner
    from backworks.isolation.process.library import LibraryJob
    from backworks.isolation.process.workerset import WorkerSet

    named = plugin_id or prepared.name  # without a manifest, only the running plugin knows its name
    job = LibraryJob(prepared, config, named or prepared.path.stem)
    workers = WorkerSet(job.plugin, job, settings)
    ready = workers.start()
    identity = job.identity(ready)
    if named is None:
        named = job.plugin = identity.name
        workers.rename(named)
    info = PluginInfo(named, *identity, prepared.manifest, prepared.path, "process", ready.has_health_check)
    return _open(info, ProcessRunner(workers), settings, settings.workers, settings.queue)


def _start_here(
    prepared: Prepared, settings: Settings, config: bytes, plugin_id: str | None, loader: DynamicPluginLoader
) -> Plugin:
    """Starts a plugin in this process."""
    loaded = loader.open(prepared)
    plugin_id = plugin_id or loaded.name
    try:
        reply, instance = loaded.library.init(config, PluginLog(logging.getLogger(f"backworks.plugin.{plugin_id}")))
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
        settings.isolation,
        "backworks_plugin_health_check" in loaded.library.symbols(),
    )
    return _run(info, engine, settings, thread_safe=prepared.thread_safe)


def _run(info: PluginInfo, engine: Engine, settings: Settings, *, thread_safe: bool) -> Plugin:
    """Runs an initialised engine with an isolation in this process."""
    shutdown = partial(_shut_down, info.id, engine)
    if settings.isolation == "none":
        from backworks.isolation.channels.inline import InlineRunner, new_turn

        return _open(info, InlineRunner(engine, shutdown, None if thread_safe else new_turn(info.id)), settings)
    from backworks.isolation.channels.thread import thread_runner

    threads = settings.workers if thread_safe else 1
    runner = thread_runner(info.id, engine, shutdown, workers=threads)
    return _open(info, runner, settings, threads, settings.queue)


def _open(info: PluginInfo, runner: Runner, settings: Settings, workers: int = 1, queue: int | None = None) -> Plugin:
    """Controls a runner by an admission: ``workers`` calls run and ``queue`` wait, or any number if it is ``None``."""
    admission = Admission(info.id, runner, workers=workers, queue=queue, breaker=settings.breaker)
    if ffi.compiled() is None:
        return Plugin(info, admission, settings.timeout)
    from backworks.compiled_plugin import CompiledPlugin

    return CompiledPlugin(info, admission, settings.timeout)


def _shut_down(plugin_id: str, engine: Engine) -> None:
    logger = logging.getLogger(f"backworks.plugin.{plugin_id}")
    try:
        code = code_of(engine.shutdown())
    except Exception:
        logger.exception("shutdown failed")
    else:
        if code is not Code.OK:
            logger.warning("shutdown returned %s", code.name)
