"""How a plugin is started, once and again: functions without arguments that make one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backworks.builtin import BuiltinInstance
from backworks.loading.discovery import DiscoveredPlugin
from backworks.loading.loader import DynamicPluginLoader, check_isolation, run, start
from backworks.plugin import Plugin, PluginInfo
from backworks.reply import check_init

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from backworks.isolation.options import ProcessOptions
    from backworks.isolation.policy import Policy

__all__ = ["builtin_maker", "library_maker", "name_of"]


def name_of(path: str | Path, isolation: str) -> str:
    """Finds the name of the plugin at a path: in its manifest, or else by asking it, which opens it in this process.

    For isolation ``process`` it is not opened; without a manifest the name is that of the file then.

    Raises:
        PluginLoadError: It cannot be loaded.
    """
    loader = DynamicPluginLoader()
    prepared = loader.prepare(path)
    if prepared.manifest is not None:
        return str(prepared.manifest["name"])
    return DiscoveredPlugin.from_file(prepared.path).name if isolation == "process" else loader.open(prepared).name


def library_maker(
    path: str | Path,
    config: Mapping[str, Any] | None,
    *,
    base: Path | None,
    plugin_id: str | None,
    isolation: str,
    workers: int | None,
    timeout: float | None,
    process: ProcessOptions,
    policy: Policy,
) -> Callable[[], Plugin]:
    """Makes plugins of a file as it is at that time; for the arguments see :func:`backworks.loading.loader.start`.

    Raises:
        ValueError: The isolation or the number of workers is none.
    """
    check_isolation(isolation, workers, timeout)
    loader = DynamicPluginLoader()
    return lambda: start(
        loader.prepare(path),
        config,
        base=base,
        plugin_id=plugin_id,
        isolation=isolation,
        workers=workers,
        timeout=timeout,
        process=process,
        policy=policy,
    )


def builtin_maker(
    plugin: Any,
    config: Mapping[str, Any] | None,
    *,
    plugin_id: str,
    isolation: str,
    workers: int | None,
    timeout: float | None,
    policy: Policy,
) -> Callable[[], Plugin]:
    """Makes plugins of a Python object.

    Raises:
        TypeError: The object is no plugin.
        ValueError: The isolation or the number of workers is none.
    """
    threads = check_isolation(isolation, workers, timeout)
    if isolation == "process":
        raise ValueError("isolation 'process' is for libraries; a Python object runs with 'thread' or 'none'")
    engine = BuiltinInstance(plugin, plugin_id)

    def make() -> Plugin:
        check_init(engine.initialize(config or {}), engine, plugin_id)
        info = PluginInfo(
            plugin_id,
            plugin.name,
            plugin.version,
            getattr(plugin, "description", ""),
            None,
            None,
            isolation,
            True,
        )
        thread_safe = getattr(plugin, "thread_safe", True)
        return run(info, engine, thread_safe=thread_safe, workers=threads, timeout=timeout, policy=policy)

    return make
