"""Many plugins, one life."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from backworks.answers import PluginResult, check_init
from backworks.builtin import BuiltinInstance
from backworks.errors import (
    BackworksError,
    Code,
    PluginStateError,
    PluginUnavailable,
)
from backworks.isolation.threads import ThreadPool
from backworks.loader import DEFAULT_WORKERS, DynamicPluginLoader, check_isolation, run, start
from backworks.plugin import Plugin, PluginHealth, PluginInfo
from backworks.registry import discover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path
    from typing import Self

    from backworks.config import Config

__all__ = ["PluginManager"]

_logger = logging.getLogger("backworks.manager")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Entry:
    """A plugin that was started, and how to start it again."""

    plugin: Plugin
    make: Callable[[], Plugin]
    critical: bool


class PluginManager:
    """Starts plugins, calls them by their ids, and shuts them down in reverse order. Thread-safe.

    ::

        with PluginManager.from_config("backworks.yaml") as manager:
            manager.process_endpoint_data("weather", "/api/weather/KJFK")

    It lives as long as the program that serves its plugins; :meth:`close`, or the end of the ``with`` block, ends it.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._failed: dict[str, BackworksError] = {}
        self._starting: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._config: Config | None = None

    @classmethod
    def from_config(cls, config: Config | str | Path | Mapping[str, Any], *, builtins: Iterable[Any] = ()) -> Self:
        """Starts what a configuration says: the plugins of its ``plugins`` in their order, then those discovered.

        A plugin with ``critical: false`` that does not start is logged and listed in :attr:`failed`. If another does
        not start, those before it are shut down again.

        Args:
            config: A configuration, or the path of one, or the mapping that a file would hold.
            builtins: Python plugins for the entries with ``plugin_type: builtin`` and no ``path``, found by their
            names.

        Raises:
            ConfigError: The configuration is wrong.
            PluginLoadError, PluginError: A critical plugin does not start.
        """
        from backworks.startup import read_config, start_configured

        config = read_config(config)
        manager = cls()
        manager._config = config
        try:
            start_configured(manager, config, {plugin.name: plugin for plugin in builtins})
        except BaseException:
            manager.close(config.server.shutdown_timeout)
            raise
        return manager

    @classmethod
    def from_discovery(cls, *directories: str | Path, recursive: bool = False) -> Self:
        """Starts every plugin found in the directories, each with an empty configuration and ``isolation: thread``.

        What does not start is logged and listed in :attr:`failed`.
        """
        from backworks.startup import start_discovered

        manager = cls()
        start_discovered(manager, discover(directories, recursive=recursive))
        return manager

    @property
    def config(self) -> Config | None:
        """The configuration that it was made from, if it was."""
        return self._config

    @property
    def plugins(self) -> Mapping[str, Plugin]:
        """The running plugins by their ids, in the order in which they were started: a snapshot."""
        with self._lock:
            return MappingProxyType({plugin_id: entry.plugin for plugin_id, entry in self._entries.items()})

    @property
    def failed(self) -> Mapping[str, BackworksError]:
        """Why those plugins did not start that were allowed not to: a snapshot."""
        with self._lock:
            return MappingProxyType(dict(self._failed))

    def register_builtin(
        self,
        plugin: Any,
        config: Mapping[str, Any] | None = None,
        *,
        plugin_id: str | None = None,
        isolation: str = "thread",
        workers: int = DEFAULT_WORKERS,
        timeout: float | None = None,
        critical: bool = True,
    ) -> Plugin:
        """Starts a Python object as a plugin: a :class:`backworks.BackworksPlugin`, or what has its members.

        Args:
            plugin: The object.
            config: What its ``initialize`` is given.
            plugin_id: What the manager calls it; without it, its name.
            isolation, workers, timeout: As for :func:`backworks.load`.
            critical: Whether :meth:`is_ready` waits for it.

        Raises:
            TypeError: The object is no plugin.
            PluginInitError: Its ``initialize`` failed.
            PluginStateError: There is a plugin of that id already.
        """
        check_isolation(isolation, workers, timeout)
        plugin_id = plugin_id or str(getattr(plugin, "name", ""))
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
            return run(info, engine, thread_safe=thread_safe, workers=workers, timeout=timeout)

        return self._add(plugin_id, make, critical=critical)

    def load(
        self,
        path: str | Path,
        config: Mapping[str, Any] | None = None,
        *,
        base: Path | None = None,
        plugin_id: str | None = None,
        isolation: str = "thread",
        workers: int = DEFAULT_WORKERS,
        timeout: float | None = None,
        critical: bool = True,
    ) -> Plugin:
        """Loads a plugin from a file and starts it; see :func:`backworks.load`.

        Args:
            path: The library, or its stem.
            config: The plugin's own configuration.
            base: Where relative paths in it start, if the plugin's schema says that they are paths.
            plugin_id: What the manager calls it; without it, its own name.
            isolation, workers, timeout: As for :func:`backworks.load`.
            critical: Whether :meth:`is_ready` waits for it.

        Raises:
            PluginStateError: There is a plugin of that id already, or the manager is closed.
            PluginLoadError, PluginError, ConfigError: As for :func:`backworks.load`.
        """
        check_isolation(isolation, workers, timeout)
        loader = DynamicPluginLoader()

        def make() -> Plugin:
            return start(
                loader.load(path),
                config,
                base=base,
                plugin_id=plugin_id,
                isolation=isolation,
                workers=workers,
                timeout=timeout,
            )

        return self._add(plugin_id or loader.load(path).name, make, critical=critical)

    def unload(self, plugin_id: str, timeout: float | None = None) -> bool:
        """Takes a plugin out and shuts it down; calls that are in it are waited for.

        Returns:
            Whether it is shut down, as :meth:`backworks.Plugin.close` does.

        Raises:
            PluginStateError: There is no plugin of that id.
        """
        with self._lock:
            entry = self._entries.pop(plugin_id, None)
        if entry is None:
            raise self._unknown(plugin_id)
        return entry.plugin.close(timeout)

    def reload(self, plugin_id: str, timeout: float | None = None) -> Plugin:
        """Starts the plugin anew, from its file as it is now, and then ends the old instance.

        New calls go to the new instance as soon as it runs; the old one is drained. If the new one does not start, the
        old one stays.

        Args:
            plugin_id: The plugin.
            timeout: Seconds to wait for the old instance's calls and shutdown.

        Raises:
            PluginStateError: There is no plugin of that id.
            PluginLoadError, PluginError: The new instance does not start.
        """
        with self._lock:
            old = self._entries.get(plugin_id)
        if old is None:
            raise self._unknown(plugin_id)
        new = _Entry(old.make(), old.make, old.critical)
        with self._lock:
            replaced = self._entries.get(plugin_id) is old
            if replaced:
                self._entries[plugin_id] = new
        if not replaced:
            new.plugin.close(timeout)
            raise PluginStateError(
                f"{plugin_id}: it was unloaded or reloaded by somebody else meanwhile", plugin=plugin_id
            )
        old.plugin.close(timeout)
        return new.plugin

    def process_endpoint_data(self, plugin_id: str, *arguments: Any, **options: Any) -> str | bytes | None:
        """Calls :meth:`backworks.Plugin.process_endpoint_data` of a plugin, with its arguments.

        Raises:
            PluginStateError: There is no plugin of that id.
            PluginUnavailable: The plugin did not start.
        """
        call: Callable[[Plugin], str | bytes | None] = lambda plugin: plugin.process_endpoint_data(  # noqa: E731
            *arguments, **options
        )
        return self._on_current(plugin_id, call)

    async def process_endpoint_data_async(self, plugin_id: str, *arguments: Any, **options: Any) -> str | bytes | None:
        """As :meth:`process_endpoint_data`, from an event loop."""
        return await self._on_current_async(
            plugin_id, lambda plugin: plugin.process_endpoint_data_async(*arguments, **options)
        )

    def call(self, plugin_id: str, *arguments: Any, **options: Any) -> PluginResult | None:
        """Calls :meth:`backworks.Plugin.call` of a plugin, with its arguments.

        Raises:
            PluginStateError: There is no plugin of that id.
            PluginUnavailable: The plugin did not start.
        """
        return self._on_current(plugin_id, lambda plugin: plugin.call(*arguments, **options))

    async def call_async(self, plugin_id: str, *arguments: Any, **options: Any) -> PluginResult | None:
        """As :meth:`call`, from an event loop."""
        return await self._on_current_async(plugin_id, lambda plugin: plugin.call_async(*arguments, **options))

    def current(self, plugin_id: str) -> Plugin:
        """Finds the plugin that calls to an id go to now: for a call that tries again on ``PluginStateError``.

        Raises:
            PluginStateError: There is no plugin of that id.
            PluginUnavailable: The plugin did not start.
        """
        try:
            return self._entries[plugin_id].plugin
        except KeyError:
            raise self._unknown(plugin_id) from None

    async def answer_async(self, plugin_id: str, *arguments: Any) -> bytes | PluginResult | None:
        """As :meth:`call_async`, but calls :meth:`backworks.Plugin.answer_async`."""
        return await self._on_current_async(plugin_id, lambda plugin: plugin.answer_async(*arguments))

    def health(self, timeout: float = 1.0) -> dict[str, PluginHealth]:
        """Asks all plugins at once how they are; those that did not start are not well.

        Args:
            timeout: Seconds to wait for the slowest.
        """
        plugins = self.plugins
        pool = ThreadPool(max(1, len(plugins)), "backworks-health")
        answers = {plugin_id: pool.submit(partial(plugin.health, timeout)) for plugin_id, plugin in plugins.items()}
        pool.close()
        wait(answers.values(), timeout)
        found = {
            plugin_id: answer.result()
            if answer.done()
            else PluginHealth(
                False, plugins[plugin_id].state, f"no answer within {timeout:g} s", Code.DEADLINE_EXCEEDED
            )
            for plugin_id, answer in answers.items()
        }
        for plugin_id, error in self.failed.items():
            found[plugin_id] = PluginHealth(False, "failed", str(error))
        return found

    def is_ready(self, health: Mapping[str, PluginHealth]) -> bool:
        """Tells whether every critical plugin is well.

        Args:
            health: What :meth:`health` returned.
        """
        with self._lock:
            entries = dict(self._entries)
        return not self._closed and all(
            plugin_id in health and health[plugin_id].ok for plugin_id, entry in entries.items() if entry.critical
        )

    def note_failure(self, plugin_id: str, error: BackworksError) -> None:
        """Lists a plugin among :attr:`failed`, and logs why it is there; calls to it will say so."""
        error.plugin = plugin_id
        with self._lock:
            self._failed[plugin_id] = error
        _logger.error("%s did not start: %s", plugin_id, error)

    def close(self, timeout: float | None = None) -> None:
        """Shuts all plugins down, the last started first. One that fails does not keep the others from it.

        Args:
            timeout: Seconds for all of them, each with an equal share of what is left; ``None`` waits as long as it
            takes.
        """
        with self._lock:
            self._closed = True
            entries = list(self._entries.values())
            self._entries.clear()
        until = None if timeout is None else time.monotonic() + timeout
        for left in range(len(entries), 0, -1):
            share = None if until is None else max(0.0, until - time.monotonic()) / left
            plugin = entries[left - 1].plugin
            try:
                plugin.close(share)
            except Exception:
                _logger.exception("%s: shutting it down failed", plugin.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<PluginManager: {len(self._entries)} plugins, {len(self._failed)} failed>"

    def _add(self, plugin_id: str, make: Callable[[], Plugin], *, critical: bool) -> Plugin:
        self._reserve(plugin_id)
        try:
            plugin = make()
        except BaseException:
            self._release(plugin_id)
            raise
        if not self._release(plugin_id, _Entry(plugin, make, critical)):
            plugin.close()
            raise PluginStateError(f"{plugin_id}: the plugin manager was closed meanwhile", plugin=plugin_id)
        return plugin

    def _reserve(self, plugin_id: str) -> None:
        with self._lock:
            if self._closed:
                raise PluginStateError(f"{plugin_id}: the plugin manager is closed", plugin=plugin_id)
            if plugin_id in self._entries or plugin_id in self._starting:
                raise PluginStateError(
                    f"{plugin_id}: there is a plugin of that id already; unload or reload it, or give another "
                    "plugin_id",
                    plugin=plugin_id,
                )
            self._starting.add(plugin_id)

    def _release(self, plugin_id: str, entry: _Entry | None = None) -> bool:
        """Ends a reservation, with the plugin that came of it; tells whether the manager has taken it."""
        with self._lock:
            self._starting.discard(plugin_id)
            if entry is None or self._closed:
                return False
            self._entries[plugin_id] = entry
            self._failed.pop(plugin_id, None)
            return True

    def _on_current(self, plugin_id: str, function: Callable[[Plugin], _Result]) -> _Result:
        while True:
            plugin = self.current(plugin_id)
            try:
                return function(plugin)
            except PluginStateError:
                if not self._was_replaced(plugin_id, plugin):
                    raise

    async def _on_current_async(self, plugin_id: str, function: Callable[[Plugin], Awaitable[_Result]]) -> _Result:
        while True:
            plugin = self.current(plugin_id)
            try:
                return await function(plugin)
            except PluginStateError:
                if not self._was_replaced(plugin_id, plugin):
                    raise

    def _was_replaced(self, plugin_id: str, plugin: Plugin) -> bool:
        """Tells whether a call that met a closing plugin, and so had not begun, has another one to go to."""
        entry = self._entries.get(plugin_id)
        return entry is not None and entry.plugin is not plugin

    def _unknown(self, plugin_id: str) -> BackworksError:
        reason = self.failed.get(plugin_id)
        if reason is not None:
            return PluginUnavailable(f"it did not start: {reason}", plugin=plugin_id)
        known = ", ".join(self._entries) or "none"
        return PluginStateError(f"there is no plugin {plugin_id!r} here; there are: {known}", plugin=plugin_id)
