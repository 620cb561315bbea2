"""Manages several plugins together."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import wait
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from backworks.errors import BackworksError, Code, PluginStateError
from backworks.isolation.threadpool import ThreadPool
from backworks.loading.prepared import prepare
from backworks.loading.registry import discover
from backworks.manager.running import Entries, Entry
from backworks.manager.startup import file_of, wanted_by, wanted_of
from backworks.manager.wanted import WantedLibrary, WantedObject
from backworks.observing.counters import Counters, PluginMetrics
from backworks.observing.metrics import observe, restarts_of
from backworks.plugin import Plugin, PluginHealth
from backworks.settings import Settings
from backworks.starting import name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path
    from typing import Self, Unpack

    from backworks.config import Config
    from backworks.manager.reloading import Follower, Reloaded
    from backworks.reply import PluginResult
    from backworks.settings import Isolation, ManagedOptions

__all__ = ["PluginManager"]

_logger = logging.getLogger("backworks.manager")
_Result = TypeVar("_Result")


class PluginManager:
    """Starts plugins, calls them by their ids, and shuts them down in reverse order. Thread-safe.

    ::

        with PluginManager.from_config("backworks.yaml") as manager:
            manager.process_endpoint_data("weather", "/api/weather/KJFK")

    A program usually has one manager for as long as it runs. Close it with :meth:`close` or a ``with`` block.

    Attributes:
        counters: The counters of calls.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self._entries = Entries()
        self._retired: list[Entry] = []  # replaced, but not closed yet
        self._followers: list[Follower] = []
        self._config: Config | None = None
        self._builtins: Mapping[str, Any] = {}

    @classmethod
    def from_config(cls, config: Config | str | Path | Mapping[str, Any], *, builtins: Iterable[Any] = ()) -> Self:
        """Starts the plugins of a configuration: those in ``plugins``, in their order, then the discovered ones.

        If a plugin with ``critical: false`` fails to start, it is logged and listed in :attr:`failed`, and the manager
        starts it again later. If any other plugin fails to start, the manager shuts down those already started.

        Args:
            config: A configuration, the path of a file, or a mapping with the content of a file.
            builtins: Python plugins for the entries with ``plugin_type: builtin`` and no ``path``, matched by name.

        Raises:
            ConfigError: The configuration is not valid.
            PluginLoadError, PluginError: A critical plugin does not start.
        """
        from backworks.config.plugins import read_config

        checked = read_config(config)
        manager = cls()
        manager._config = checked.config
        manager._builtins = {plugin.name: plugin for plugin in builtins}
        try:
            manager._entries.start_all(wanted_by(checked, manager._builtins).values())
        except BaseException:
            manager.close(checked.config.server.shutdown_timeout)
            raise
        return manager

    @classmethod
    def from_discovery(cls, *directories: str | Path, recursive: bool = False) -> Self:
        """Starts every plugin found in the directories, each with an empty configuration and the default settings.

        A plugin that fails to start is logged and listed in :attr:`failed`, and started again later.
        """
        manager = cls()
        manager._entries.start_all(wanted_of(discover(directories, recursive=recursive)).values())
        return manager

    @property
    def config(self) -> Config | None:
        """The configuration that was loaded last, or ``None`` if there is none."""
        return self._config

    @property
    def plugins(self) -> Mapping[str, Plugin]:
        """A snapshot of the running plugins by id, in the order of their start."""
        return MappingProxyType({plugin_id: entry.plugin for plugin_id, entry in self._entries.running.items()})

    @property
    def failed(self) -> Mapping[str, BackworksError]:
        """A snapshot of the errors of plugins that failed to start and are not critical, by id."""
        return MappingProxyType(self._entries.failed)

    def register_builtin(
        self,
        plugin: Any,
        config: Mapping[str, Any] | None = None,
        *,
        plugin_id: str | None = None,
        isolation: Isolation = "thread",
        **options: Unpack[ManagedOptions],
    ) -> Plugin:
        """Starts a Python object as a plugin.

        Args:
            plugin: A :class:`backworks.BackworksPlugin`, or an object with the same members.
            config: The argument of its ``initialize``.
            plugin_id: The id of the plugin in this manager; by default its own name.
            isolation: ``"thread"`` or ``"none"``.
            **options: As for :meth:`load`.

        Raises:
            TypeError: The object is not a plugin.
            PluginInitError: Its ``initialize`` failed.
            PluginStateError: A plugin with that id already runs, or the manager is closed.
            ValueError: The isolation, the number of workers or the timeout is not valid.
        """
        wanted = WantedObject(
            plugin_id=plugin_id or str(getattr(plugin, "name", "")),
            settings=Settings(isolation=isolation, **options),
            config=config or {},
            configured=False,
            where=None,
            find=lambda: plugin,
        )
        return self._entries.start(wanted).plugin

    def load(
        self,
        path: str | Path,
        config: Mapping[str, Any] | None = None,
        *,
        base: Path | None = None,
        plugin_id: str | None = None,
        isolation: Isolation = "process",
        **options: Unpack[ManagedOptions],
    ) -> Plugin:
        """Loads a plugin from a file and starts it, with the defaults of a configuration; see :func:`backworks.load`.

        Args:
            path: The library, or its stem.
            config: The plugin's own configuration.
            base: The directory at which the relative paths in it start; the plugin's schema declares which values are
                paths.
            plugin_id: The id of the plugin in this manager; by default its own name.
            isolation: ``"process"``, ``"thread"`` or ``"none"``.
            **options: As for :func:`backworks.load`; also ``health_check`` and ``critical``. See
                :class:`backworks.Settings`.

        Raises:
            PluginStateError: A plugin with that id already runs, or the manager is closed.
            PluginLoadError, PluginError, ConfigError: As for :func:`backworks.load`.
            ValueError: The isolation, the number of workers or the timeout is not valid.
        """
        settings = Settings(isolation=isolation, **options)
        prepared = prepare(path)
        wanted = WantedLibrary(
            plugin_id=plugin_id or name_of(prepared, isolation),
            settings=settings,
            config=config or {},
            configured=False,
            prepared=prepared,
            base=base,
        )
        return self._entries.start(wanted).plugin

    def unload(self, plugin_id: str, timeout: float | None = None) -> bool:
        """Removes a plugin, waits for its calls in flight, and shuts it down.

        Args:
            plugin_id: The plugin.
            timeout: The total time for this in seconds; ``None`` means no limit.

        Returns:
            Whether the plugin was shut down, like :meth:`backworks.Plugin.close`.

        Raises:
            PluginStateError: No plugin has that id.
        """
        entry = self._entries.get(plugin_id)
        if not self._entries.remove(entry):
            raise self._entries.unknown(plugin_id)
        return entry.close(timeout)

    def reload(self, plugin_id: str, timeout: float | None = None) -> Plugin:
        """Starts a new instance of a plugin from the current content of its file, then closes the old instance.

        New calls go to the new instance as soon as it runs; the old one finishes its calls in flight. If the new
        instance does not start, the old one continues to run.

        Args:
            plugin_id: The plugin.
            timeout: How many seconds to wait for the calls and the shutdown of the old instance.

        Raises:
            PluginStateError: No plugin has that id.
            PluginLoadError, PluginError: The new instance does not start.
        """
        with self._entries.switching:
            old = self._entries.get(plugin_id)
            new = Entry(old.wanted.renewed())
            self._entries.exchange({plugin_id: new}, {plugin_id: old})
        self._retire([old], timeout)
        return new.plugin

    def reload_config(
        self, config: Config | str | Path | Mapping[str, Any] | None = None, *, timeout: float | None = 30.0
    ) -> Reloaded:
        """Switches to another configuration, or reads the file of the current one again.

        The manager checks the whole configuration first; an error changes nothing. It then starts new plugins, and
        those whose settings or file have changed, beside the old ones. If one of them does not start, the manager shuts
        down those it has started and changes nothing, unless the plugin is new and has ``critical: false``. Calls, and
        the routes of an application that serves this manager, then switch at once. The old plugins finish their calls
        in flight before they are shut down. Unchanged plugins, and those started by the program itself, keep running.

        The addresses and processes in ``server`` only change at the next start.

        Args:
            config: A configuration, the path of a file, or a mapping with the content of a file; by default the file
                of the current configuration.
            timeout: How many seconds to wait for the calls and the shutdown of each old plugin.

        Returns:
            The changes.

        Raises:
            ConfigError: The configuration is not valid.
            PluginLoadError, PluginError: A plugin does not start.
            PluginStateError: There is no file to read, or the manager is closed.
        """
        from backworks.manager.reloading import Change

        with self._entries.switching:
            wanted = file_of(self._config) if config is None else config
            change = Change(self._entries, wanted, self._builtins)
            routes = [(follower, follower.prepare(change.config)) for follower in self._followers]
            change.start()
            change.commit()
            self._config = change.config
            for follower, prepared in routes:
                follower.switch(prepared)
            for follower, _ in routes:
                follower.settle(timeout)
            retired = change.finish()
        self._retire(retired, timeout)
        return change.result

    def follow(self, follower: Follower) -> None:
        """Registers an object that switches together with the manager to another configuration."""
        self._followers.append(follower)

    def process_endpoint_data(self, plugin_id: str, *arguments: Any, **options: Any) -> str | bytes | None:
        """Calls :meth:`backworks.Plugin.process_endpoint_data` of a plugin, with its arguments.

        Raises:
            PluginStateError: No plugin has that id.
            PluginUnavailable: The plugin did not start.
        """
        call: Callable[[Plugin], str | bytes | None] = lambda plugin: plugin.process_endpoint_data(  # noqa: E731
            *arguments, **options
        )
        return self._on_current(plugin_id, call)

    async def process_endpoint_data_async(self, plugin_id: str, *arguments: Any, **options: Any) -> str | bytes | None:
        """Like :meth:`process_endpoint_data`, for use in an event loop."""
        return await self._on_current_async(
            plugin_id, lambda plugin: plugin.process_endpoint_data_async(*arguments, **options)
        )

    def call(self, plugin_id: str, *arguments: Any, **options: Any) -> PluginResult | None:
        """Calls :meth:`backworks.Plugin.call` of a plugin, with its arguments.

        Raises:
            PluginStateError: No plugin has that id.
            PluginUnavailable: The plugin did not start.
        """
        return self._on_current(plugin_id, lambda plugin: plugin.call(*arguments, **options))

    async def call_async(self, plugin_id: str, *arguments: Any, **options: Any) -> PluginResult | None:
        """Like :meth:`call`, for use in an event loop."""
        return await self._on_current_async(plugin_id, lambda plugin: plugin.call_async(*arguments, **options))

    def current(self, plugin_id: str) -> Plugin:
        """Returns the plugin that currently has an id, for callers that retry on ``PluginStateError``.

        Raises:
            PluginStateError: No plugin has that id.
            PluginUnavailable: The plugin did not start.
        """
        try:
            return self._entries.running[plugin_id].plugin
        except KeyError:
            raise self._entries.unknown(plugin_id) from None

    async def answer_async(self, plugin_id: str, *arguments: Any) -> bytes | PluginResult | None:
        """Like :meth:`call_async`, but calls :meth:`backworks.Plugin.answer_async` and does not count the call."""
        plugin = self.current(plugin_id)
        while True:
            try:
                return await plugin.answer_async(*arguments)
            except PluginStateError as error:
                plugin = self._other(plugin_id, plugin, error)

    def health(self, timeout: float = 1.0) -> dict[str, PluginHealth]:
        """Checks the health of all plugins concurrently; a plugin that did not start is unhealthy.

        For a plugin with periodic health checks, this returns the last result.

        Args:
            timeout: How many seconds to wait for the slowest plugin.
        """
        entries = self._entries.running
        plugins = {plugin_id: entry.plugin for plugin_id, entry in entries.items()}
        pool = ThreadPool(max(1, len(plugins)), "backworks-health")
        answers = {plugin_id: pool.submit(partial(entry.health, timeout)) for plugin_id, entry in entries.items()}
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
        for plugin_id, trouble in self._entries.troubles.items():
            found[plugin_id] = PluginHealth(False, "failed", trouble, Code.UNAVAILABLE)
        return found

    def is_ready(self, health: Mapping[str, PluginHealth]) -> bool:
        """Returns whether all critical plugins are healthy.

        Args:
            health: The return value of :meth:`health`.
        """
        entries = self._entries.running
        return not self._entries.closed and all(
            plugin_id in health and health[plugin_id].ok
            for plugin_id, entry in entries.items()
            if entry.wanted.settings.critical
        )

    def metrics(self) -> Mapping[str, PluginMetrics]:
        """Returns the metrics of all plugins by id; they cover calls through this manager and through a server.

        The memory usage of worker processes is read from the operating system at the time of the call.
        """
        found = {
            plugin_id: observe(entry.plugin, self.counters.total(plugin_id))
            for plugin_id, entry in self._entries.running.items()
        }
        for plugin_id in self._entries.failed:
            found[plugin_id] = observe(None, self.counters.total(plugin_id))
        return MappingProxyType(found)

    def restarts(self) -> dict[str, int]:
        """Returns how many worker processes of each plugin have been restarted."""
        return {plugin_id: restarts_of(entry.plugin) for plugin_id, entry in self._entries.running.items()}

    def close(self, timeout: float | None = None) -> None:
        """Shuts down all plugins, the last started first. An error in one does not stop the shutdown of the others.

        Args:
            timeout: The total time in seconds, of which each plugin gets an equal share of the rest; ``None`` means no
                limit.
        """
        entries = [*self._retired, *self._entries.close()]
        until = None if timeout is None else time.monotonic() + timeout
        for left in range(len(entries), 0, -1):
            share = None if until is None else max(0.0, until - time.monotonic()) / left
            entry = entries[left - 1]
            try:
                entry.close(share)
            except Exception:
                _logger.exception("%s: shutdown failed", entry.plugin.id)

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
        return f"<PluginManager: {len(self._entries.running)} plugins, {len(self._entries.failed)} failed>"

    def _retire(self, entries: list[Entry], timeout: float | None) -> None:
        """Closes plugins that have been replaced, all concurrently."""
        pool = ThreadPool(max(1, len(entries)), "backworks-retire")
        self._retired += entries
        endings = [pool.submit(partial(entry.close, timeout)) for entry in entries]
        pool.close()
        wait(endings)
        self._retired = [entry for entry in self._retired if entry not in entries]

    def _on_current(self, plugin_id: str, function: Callable[[Plugin], _Result]) -> _Result:
        plugin = self.current(plugin_id)
        tally = self.counters.shared(plugin_id)
        began = tally.begin()
        try:
            while True:
                try:
                    result = function(plugin)
                except PluginStateError as error:
                    plugin = self._other(plugin_id, plugin, error)
                else:
                    tally.end(began)
                    return result
        except BaseException as error:
            tally.end(began, error)
            raise

    async def _on_current_async(self, plugin_id: str, function: Callable[[Plugin], Awaitable[_Result]]) -> _Result:
        plugin = self.current(plugin_id)
        tally = self.counters.shared(plugin_id)
        began = tally.begin()
        try:
            while True:
                try:
                    result = await function(plugin)
                except PluginStateError as error:
                    plugin = self._other(plugin_id, plugin, error)
                else:
                    tally.end(began)
                    return result
        except BaseException as error:
            tally.end(began, error)
            raise

    def _other(self, plugin_id: str, plugin: Plugin, error: PluginStateError) -> Plugin:
        """Returns the replacement for a plugin that rejected a call because it was closing, or raises its error."""
        entry = self._entries.running.get(plugin_id)
        if entry is None or entry.plugin is plugin:
            raise error
        return entry.plugin
