"""The plugins of a manager: those that run, how each was started, and those that are started again until they run."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from backworks.errors import BackworksError, PluginStateError, PluginUnavailable
from backworks.isolation.process.restart import Backoff
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


class _Failed:
    """A plugin that is not critical and did not start.

    Args:
        wanted: The plugin.
        error: Why it did not start.

    Attributes:
        wanted: The plugin.
        error: Why it did not start the last time.
        due: When it is started again, by ``time.monotonic()``.
    """

    def __init__(self, wanted: Wanted, error: BackworksError) -> None:
        self.wanted = wanted
        self._restart = wanted.settings.restart
        self._backoff = Backoff(self._restart)
        self.failed_again(error)

    @property
    def left(self) -> float:
        """The number of seconds until it is started again."""
        return max(0.0, self.due - time.monotonic())

    def failed_again(self, error: BackworksError) -> None:
        error.plugin = self.wanted.plugin_id
        self.error = error
        self.due = time.monotonic() + max(self._restart.initial, self._backoff.not_started(error))


class Entries:
    """Entries by the ids of their plugins. Thread-safe.

    Attributes:
        switching: Held while a configuration is reloaded or a plugin is started again, which must not overlap.
        running: The running plugins, in the order of their start. Each change replaces the mapping, so readers need no
            lock.
        closed: Whether the manager is closed and accepts no more plugins.
    """

    def __init__(self) -> None:
        self.switching = threading.Lock()
        self.running: Mapping[str, Entry] = {}
        self.closed = False
        self._failed: dict[str, _Failed] = {}
        self._starting: set[str] = set()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # of what to start again
        self._is_retrying = False  # whether the thread for that runs

    @property
    def failed(self) -> dict[str, BackworksError]:
        """A copy of the errors of plugins that failed to start and are not critical."""
        with self._lock:
            return {plugin_id: failed.error for plugin_id, failed in self._failed.items()}

    @property
    def troubles(self) -> dict[str, str]:
        """Why these plugins do not run, and when they are started again."""
        with self._lock:
            return {
                plugin_id: f"it did not start: {failed.error}; the next start is in {failed.left:.1f} s"
                for plugin_id, failed in self._failed.items()
            }

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
                self.fail(each, error)

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

    def fail(self, wanted: Wanted, error: BackworksError) -> None:
        """Records and logs why a plugin did not start, and starts it again later."""
        failed = _Failed(wanted, error)
        with self._lock:
            self._failed[wanted.plugin_id] = failed
            self._changed.notify()
            starts_thread = not self._is_retrying and not self.closed
            self._is_retrying = self._is_retrying or starts_thread
        _logger.error("%s did not start: %s; the next start is in %.1f s", wanted.plugin_id, error, failed.left)
        if starts_thread:
            threading.Thread(target=self._retry, name="backworks-retry", daemon=True).start()

    def forget_failures(self) -> None:
        """Clears :attr:`failed`."""
        with self._lock:
            self._failed.clear()
            self._changed.notify()

    def close(self) -> list[Entry]:
        """Rejects further plugins and returns the running ones, which the caller must close."""
        with self._lock:
            self.closed = True
            self._changed.notify()
            entries = list(self.running.values())
            self.running = {}
        return entries

    def unknown(self, plugin_id: str) -> BackworksError:
        """Creates the exception for a call to a plugin that does not run."""
        with self._lock:
            failed = self._failed.get(plugin_id)
        if failed is not None:
            return PluginUnavailable(f"it did not start: {failed.error}", plugin=plugin_id, retry_after=failed.left)
        known = ", ".join(self.running) or "none"
        return PluginStateError(f"there is no plugin {plugin_id!r}; running plugins: {known}", plugin=plugin_id)

    def _retry(self) -> None:
        """Starts plugins again that did not start, as long as there are any."""
        while True:
            with self._lock:
                if self.closed or not self._failed:
                    self._is_retrying = False
                    return
                failed = min(self._failed.values(), key=lambda each: each.due)
                if failed.left > 0:
                    self._changed.wait(failed.left)
                    continue
            self._start_again(failed)

    def _start_again(self, failed: _Failed) -> None:
        plugin_id = failed.wanted.plugin_id
        with self.switching:
            if self._failed.get(plugin_id) is not failed:  # a reload has dropped it
                return
            try:
                self.start(failed.wanted.renewed())
            except BackworksError as error:
                is_new = str(error) != str(failed.error)
                failed.failed_again(error)
                # The same reason again and again would fill the log.
                level = logging.WARNING if is_new else logging.DEBUG
                _logger.log(
                    level, "%s did not start again: %s; the next start is in %.1f s", plugin_id, error, failed.left
                )
            else:
                _logger.info("%s started", plugin_id)
