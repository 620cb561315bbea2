"""The plugins of a manager: which run, how each was started, and which did not start."""

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
    """A plugin that runs.

    Args:
        wanted: How it is started; it is started now.

    Attributes:
        plugin: The plugin.
        wanted: How it was started.
        monitor: What asks it how it is, if anything does.
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
        """Tells how the plugin is: what it said last where it is asked on an interval, or else what it says now."""
        last = None if self.monitor is None else self.monitor.last
        if last is None or self.plugin.state != "running":
            return self.plugin.health(timeout)
        return last

    def close(self, timeout: float | None) -> bool:
        """Ends the plugin, in time whatever it does; see :meth:`backworks.Plugin.close`."""
        if self.monitor is not None:
            self.monitor.stop()
        if timeout is None or self.plugin.isolation != "none":
            return self.plugin.close(timeout)
        # Its shutdown would run in this thread, and nothing could end it.
        pool = ThreadPool(1, f"backworks-{self.plugin.id}")
        closing = pool.submit(lambda: self.plugin.close(timeout))
        pool.close()
        try:
            return closing.result(timeout)
        except TimeoutError:
            if not closing.done():
                logging.getLogger(f"backworks.plugin.{self.plugin.id}").error(
                    "left behind: its shutdown did not return within %g s", timeout
                )
            return False


class Entries:
    """Entries by the ids of their plugins. Thread-safe.

    Attributes:
        running: Those that run, in the order in which they were started. A new mapping for each change: whoever reads
            it needs no lock.
        closed: Whether no other is taken.
    """

    def __init__(self) -> None:
        self.running: Mapping[str, Entry] = {}
        self.closed = False
        self._failed: dict[str, BackworksError] = {}
        self._starting: set[str] = set()
        self._lock = threading.Lock()

    @property
    def failed(self) -> dict[str, BackworksError]:
        """Why those did not start that were allowed not to: a copy."""
        with self._lock:
            return dict(self._failed)

    def get(self, plugin_id: str) -> Entry:
        """Finds an entry.

        Raises:
            PluginStateError: There is no plugin of that id.
            PluginUnavailable: It did not start.
        """
        try:
            return self.running[plugin_id]
        except KeyError:
            raise self.unknown(plugin_id) from None

    def start(self, wanted: Wanted) -> Entry:
        """Starts a plugin and takes it.

        Raises:
            PluginStateError: There is one of that id, or no more are taken.
        """
        plugin_id = wanted.plugin_id
        with self._lock:
            if self.closed:
                raise PluginStateError(f"{plugin_id}: the plugin manager is closed", plugin=plugin_id)
            if plugin_id in self.running or plugin_id in self._starting:
                raise PluginStateError(
                    f"{plugin_id}: there is a plugin of that id already; unload or reload it, or give another "
                    "plugin_id",
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
        """Starts plugins one after the other; one that is not critical and does not start is noted in :attr:`failed`.

        Raises:
            BackworksError: A critical plugin does not start. Those before it run.
        """
        for each in wanted:
            try:
                self.start(each)
            except BackworksError as error:
                if each.settings.critical:
                    raise
                self.fail(each.plugin_id, error)

    def exchange(self, new: Mapping[str, Entry], old: Mapping[str, Entry]) -> None:
        """Takes entries in the place of others, all at the same moment.

        Args:
            new: The new entries. They are closed if they are not taken.
            old: The entries that they replace, which have to be there still.

        Raises:
            PluginStateError: No more are taken, or an old entry is not there any more, or there is another instead.
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
            raise PluginStateError(f"{names}: the plugin manager was closed meanwhile", plugin=names)
        raise PluginStateError(f"{gone[0]}: it was unloaded or reloaded by somebody else meanwhile", plugin=gone[0])

    def remove(self, entry: Entry) -> bool:
        """Takes an entry out; tells whether it was there."""
        with self._lock:
            plugin_id = entry.wanted.plugin_id
            if self.running.get(plugin_id) is not entry:
                return False
            self.running = {key: other for key, other in self.running.items() if other is not entry}
            return True

    def fail(self, plugin_id: str, error: BackworksError) -> None:
        """Notes why a plugin did not start, and logs it."""
        error.plugin = plugin_id
        with self._lock:
            self._failed[plugin_id] = error
        _logger.error("%s did not start: %s", plugin_id, error)

    def forget_failures(self) -> None:
        """Forgets those that did not start."""
        with self._lock:
            self._failed.clear()

    def close(self) -> list[Entry]:
        """Takes no more, and gives those that run away to be closed."""
        with self._lock:
            self.closed = True
            entries = list(self.running.values())
            self.running = {}
        return entries

    def unknown(self, plugin_id: str) -> BackworksError:
        """Makes the exception for a call to a plugin that does not run."""
        with self._lock:
            reason = self._failed.get(plugin_id)
        if reason is not None:
            return PluginUnavailable(f"it did not start: {reason}", plugin=plugin_id)
        known = ", ".join(self.running) or "none"
        return PluginStateError(f"there is no plugin {plugin_id!r} here; there are: {known}", plugin=plugin_id)
