"""The plugins of a manager: those that run, how each was started, and those that failed to start."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from backworks.errors import BackworksError, PluginStateError, PluginUnavailable
from backworks.isolation.threadpool import ThreadPool
from backworks.observing.health import HealthMonitor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backworks.manager.wanted import Wanted
    from backworks.plugin import PluginHealth

__all__ = ["Entries", "Entry"]

_logger = logging.getLogger("backworks.manager")


class Entry:
    """A running plugin.

    Args:
        wanted: The plugin to start; the constructor starts it.

    Attributes:
        plugin: The plugin.
        wanted: How it was started.
        monitor: The periodic health check, or ``None``.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.plugin = wanted.start()
        self.monitor: HealthMonitor | None = None
        interval = wanted.settings.health_check
        if interval is not None and self.plugin.has_health_check:
            self.monitor = HealthMonitor(self.plugin, interval)
            self.monitor.start()

    def health(self, timeout: float | None) -> PluginHealth:
        """Returns the last result of the periodic health check, or else checks the plugin now."""
        last = None if self.monitor is None else self.monitor.last
        if last is None or self.plugin.state != "running":
            return self.plugin.health(timeout)
        return last

    def close(self, timeout: float | None) -> bool:
        """Closes the plugin within the timeout, even if its shutdown hangs; see :meth:`backworks.Plugin.close`."""
        if self.monitor is not None:
            self.monitor.stop()
        if timeout is None or self.plugin.isolation != "none":
            return self.plugin.close(timeout)
        # Runs the shutdown in another thread, because this thread could not stop waiting for it.
        pool = ThreadPool(1, f"backworks-{self.plugin.id}")
        closing = pool.submit(lambda: self.plugin.close(timeout))
        pool.close()
        try:
            return closing.result(timeout)
        except TimeoutError:
            if not closing.done():
                logging.getLogger(f"backworks.plugin.{self.plugin.id}").error(
                    "abandoned: its shutdown did not return within %g s", timeout
                )
            return False


class Entries:
    """Entries by the ids of their plugins. Thread-safe.

    Attributes:
        running: The running plugins, in the order of their start. Each change replaces the mapping, so readers need no
            lock.
        closed: Whether the manager is closed and accepts no more plugins.
    """

    def __init__(self) -> None:
        self.running: Mapping[str, Entry] = {}
        self.closed = False
        self._failed: dict[str, BackworksError] = {}
        self._starting: set[str] = set()
        self._lock = threading.Lock()

    @property
    def failed(self) -> dict[str, BackworksError]:
        """A copy of the errors of plugins that failed to start and are not critical."""
        with self._lock:
            return dict(self._failed)

    def get(self, plugin_id: str) -> Entry:
        """Returns the entry of a plugin.

        Raises:
            PluginStateError: No plugin has that id.
            PluginUnavailable: The plugin did not start.
        """
        try:
            return self.running[plugin_id]
        except KeyError:
            raise self.unknown(plugin_id) from None

    def start(self, wanted: Wanted) -> Entry:
        """Starts a plugin and adds it.

        Raises:
            PluginStateError: A plugin with that id already runs, or the manager is closed.
        """
        plugin_id = wanted.plugin_id
        with self._lock:
            if self.closed:
                raise PluginStateError(f"{plugin_id}: the plugin manager is closed", plugin=plugin_id)
            if plugin_id in self.running or plugin_id in self._starting:
                raise PluginStateError(
                    f"{plugin_id}: a plugin with this id already runs; unload or reload it, or use another plugin_id",
                    plugin=plugin_id,
                )
            self._starting.add(plugin_id)
        try:
            entry = Entry(wanted)
        finally:
            with self._lock:
                self._starting.discard(plugin_id)
        self.exchange({plugin_id: entry}, {})
        return entry

    def start_all(self, wanted: Iterable[Wanted]) -> None:
        """Starts plugins one after the other; :attr:`failed` lists those that fail and are not critical.

        Raises:
            BackworksError: A critical plugin does not start. The plugins before it keep running.
        """
        for each in wanted:
            try:
                self.start(each)
            except BackworksError as error:
                if each.settings.critical:
                    raise
                self.fail(each.plugin_id, error)

    def exchange(self, new: Mapping[str, Entry], old: Mapping[str, Entry]) -> None:
        """Replaces entries by others in one atomic step.

        Args:
            new: The new entries. They are closed if this method raises an error.
            old: The entries that they replace, which must still be running.

        Raises:
            PluginStateError: The manager is closed, or an old entry has been removed or replaced.
        """
        with self._lock:
            gone = [plugin_id for plugin_id in new if self.running.get(plugin_id) is not old.get(plugin_id)]
            taken = not self.closed and not gone
            if taken:
                self.running = {**self.running, **new}
                for plugin_id in new:
                    self._failed.pop(plugin_id, None)
        if taken:
            return
        for entry in new.values():
            entry.close(None)
        if self.closed:
            names = ", ".join(new)
            raise PluginStateError(f"{names}: the plugin manager was closed during the start", plugin=names)
        raise PluginStateError(
            f"{gone[0]}: another thread unloaded or reloaded the plugin during the start", plugin=gone[0]
        )

    def remove(self, entry: Entry) -> bool:
        """Removes an entry and returns whether it was present."""
        with self._lock:
            plugin_id = entry.wanted.plugin_id
            if self.running.get(plugin_id) is not entry:
                return False
            self.running = {key: other for key, other in self.running.items() if other is not entry}
            return True

    def fail(self, plugin_id: str, error: BackworksError) -> None:
        """Records and logs why a plugin did not start."""
        error.plugin = plugin_id
        with self._lock:
            self._failed[plugin_id] = error
        _logger.error("%s did not start: %s", plugin_id, error)

    def forget_failures(self) -> None:
        """Clears :attr:`failed`."""
        with self._lock:
            self._failed.clear()

    def close(self) -> list[Entry]:
        """Rejects further plugins and returns the running ones, which the caller must close."""
        with self._lock:
            self.closed = True
            entries = list(self.running.values())
            self.running = {}
        return entries

    def unknown(self, plugin_id: str) -> BackworksError:
        """Creates the exception for a call to a plugin that does not run."""
        with self._lock:
            reason = self._failed.get(plugin_id)
        if reason is not None:
            return PluginUnavailable(f"it did not start: {reason}", plugin=plugin_id)
        known = ", ".join(self.running) or "none"
        return PluginStateError(f"there is no plugin {plugin_id!r}; running plugins: {known}", plugin=plugin_id)
