"""Many plugins, one life."""

from __future__ import annotations

import asyncio
import logging
import threading
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

    It lives as long as the program that serves its plugins; :meth:`close`, or the end of the ``with`` block, ends it.

    Attributes:
        counters: What counts the calls.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self._entries = Entries()
        self._retired: list[Entry] = []  # replaced, and not ended yet
        self._reloading = threading.Lock()
        self._followers: list[Follower] = []
        self._config: Config | None = None
        self._builtins: Mapping[str, Any] = {}

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

        What does not start is logged and listed in :attr:`failed`.
        """
        manager = cls()
        manager._entries.start_all(wanted_of(discover(directories, recursive=recursive)).values())
        return manager

    @property
    def config(self) -> Config | None:
        """The configuration that it was made from, if it was, or the one that was loaded last."""
        return self._config

    @property
    def plugins(self) -> Mapping[str, Plugin]:
        """The running plugins by their ids, in the order in which they were started: a snapshot."""
        return MappingProxyType({plugin_id: entry.plugin for plugin_id, entry in self._entries.running.items()})

    @property
    def failed(self) -> Mapping[str, BackworksError]:
        """Why those plugins did not start that were allowed not to: a snapshot."""
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
        """Starts a Python object as a plugin: a :class:`backworks.BackworksPlugin`, or what has its members.

        Args:
            plugin: The object.
            config: What its ``initialize`` is given.
            plugin_id: What the manager calls it; without it, its name.
            isolation: ``"thread"`` or ``"none"``.
            **options: As for :meth:`load`.

        Raises:
            TypeError: The object is no plugin.
            PluginInitError: Its ``initialize`` failed.
            PluginStateError: There is a plugin of that id already.
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
            base: Where relative paths in it start, if the plugin's schema says that they are paths.
            plugin_id: What the manager calls it; without it, its own name.
            isolation: ``"process"``, ``"thread"`` or ``"none"``.
            **options: As for :func:`backworks.load`; also ``health_check`` and ``critical``. See
                :class:`backworks.Settings`.

        Raises:
            PluginStateError: There is a plugin of that id already, or the manager is closed.
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
        """Takes a plugin out and shuts it down; calls that are in it are waited for.

        Returns:
            Whether it is shut down, as :meth:`backworks.Plugin.close` does.

        Raises:
            PluginStateError: There is no plugin of that id.
        """
        entry = self._entries.get(plugin_id)
        if not self._entries.remove(entry):
            raise self._entries.unknown(plugin_id)
        return entry.close(timeout)

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
        with self._reloading:
            old = self._entries.get(plugin_id)
            new = Entry(old.wanted.renewed())
            self._entries.exchange({plugin_id: new}, {plugin_id: old})
        self._retire([old], timeout)
        return new.plugin

    def reload_config(
        self, config: Config | str | Path | Mapping[str, Any] | None = None, *, timeout: float | None = 30.0
    ) -> Reloaded:
        """Goes over to another configuration, or to what the file of the present one says now.

        The whole of it is checked first, and an error changes nothing. Plugins that are new, and those whose settings
        or file have changed, are started beside the old ones; if one of them does not start, those that were started
        are shut down again and nothing has changed, unless the plugin is new and has ``critical: false``. Then calls,
        and the routes of an application that serves this manager, go over at one moment. Calls in the old plugins are
        waited for before these are shut down. A plugin of which nothing has changed, and one that the program itself
        has started, runs on.

        What ``server`` says of addresses and processes is left as it is until the next start.

        Args:
            config: The configuration, or the path of one, or the mapping that a file would hold; without it, the file
                that the present one was read from.
            timeout: Seconds to wait for the calls and the shutdown of each old plugin.

        Returns:
            What has changed.

        Raises:
            ConfigError: The configuration is wrong.
            PluginLoadError, PluginError: A plugin does not start.
            PluginStateError: There is no file to read, or the manager was closed.
        """
        from backworks.manager.reloading import Change

        with self._reloading:
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
        """Has something go along when another configuration is loaded."""
        self._followers.append(follower)

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
            return self._entries.running[plugin_id].plugin
        except KeyError:
            raise self._entries.unknown(plugin_id) from None

    async def answer_async(self, plugin_id: str, *arguments: Any) -> bytes | PluginResult | None:
        """As :meth:`call_async`, but calls :meth:`backworks.Plugin.answer_async`, and counts nothing."""
        plugin = self.current(plugin_id)
        while True:
            try:
                return await plugin.answer_async(*arguments)
            except PluginStateError as error:
                plugin = self._other(plugin_id, plugin, error)

    def health(self, timeout: float = 1.0) -> dict[str, PluginHealth]:
        """Asks all plugins at once how they are; those that did not start are not well.

        A plugin that is asked on an interval is not asked once more: its last answer stands.

        Args:
            timeout: Seconds to wait for the slowest.
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
        for plugin_id, error in self.failed.items():
            found[plugin_id] = PluginHealth(False, "failed", str(error))
        return found

    def is_ready(self, health: Mapping[str, PluginHealth]) -> bool:
        """Tells whether every critical plugin is well.

        Args:
            health: What :meth:`health` returned.
        """
        entries = self._entries.running
        return not self._entries.closed and all(
            plugin_id in health and health[plugin_id].ok
            for plugin_id, entry in entries.items()
            if entry.wanted.settings.critical
        )

    def metrics(self) -> Mapping[str, PluginMetrics]:
        """Tells the numbers of every plugin by its id: of the calls through this manager and through a server.

        What memory worker processes use is read from the system now.
        """
        found = {
            plugin_id: observe(entry.plugin, self.counters.total(plugin_id))
            for plugin_id, entry in self._entries.running.items()
        }
        for plugin_id in self._entries.failed:
            found[plugin_id] = observe(None, self.counters.total(plugin_id))
        return MappingProxyType(found)

    def restarts(self) -> dict[str, int]:
        """Tells how many worker processes of each plugin took the place of one that had ended."""
        return {plugin_id: restarts_of(entry.plugin) for plugin_id, entry in self._entries.running.items()}

    def close(self, timeout: float | None = None) -> None:
        """Shuts all plugins down, the last started first. One that fails does not keep the others from it.

        Args:
            timeout: Seconds for all of them, each with an equal share of what is left; ``None`` waits as long as it
            takes.
        """
        entries = [*self._retired, *self._entries.close()]
        until = None if timeout is None else time.monotonic() + timeout
        for left in range(len(entries), 0, -1):
            share = None if until is None else max(0.0, until - time.monotonic()) / left
            entry = entries[left - 1]
            try:
                entry.close(share)
            except Exception:
                _logger.exception("%s: shutting it down failed", entry.plugin.id)

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
        """Ends plugins that others have taken the place of, all at the same time."""
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
        """Finds another plugin for a call that met a closing one, and so had not begun; or raises what it raised."""
        entry = self._entries.running.get(plugin_id)
        if entry is None or entry.plugin is plugin:
            raise error
        return entry.plugin
