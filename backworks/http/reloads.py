"""Requests for a reload of the configuration, by SIGHUP or a changed file, and the log messages about them."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.errors import BackworksError, ConfigError, PluginNotFound
from backworks.loading.paths import SUFFIXES, resolve_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backworks.config import Config

__all__ = ["Reloads", "attempt", "watching"]

_logger = logging.getLogger("backworks.http")

#: How often to check the files for changes, in seconds.
_LOOK = 0.5
#: The settings that only change at startup.
_FIXED = ("host", "port", "workers", "shutdown_timeout")

#: For each file its device, inode, size and modification time.
Stamps = dict[Path, tuple[int, ...]]


class Reloads:
    """A pending request to reload the configuration.

    Args:
        config: The current configuration.

    Attributes:
        config: The current configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._asked = False
        self._wanted: Config | None = None

    def ask(self, config: Config | None = None) -> None:
        """Requests a reload; can be called from any thread and from a signal handler.

        Args:
            config: The new configuration; without it, the file is read again.
        """
        self._wanted = config
        self._asked = True

    def take(self) -> tuple[Config | None] | None:
        """Returns the pending request and clears it, or returns ``None``."""
        if not self._asked:
            return None
        self._asked = False
        return (self._wanted,)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Requests a reload on SIGHUP, if the platform has it and this is the main thread."""
        if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGHUP, lambda *_: self.ask())
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)


def attempt(reloads: Reloads, load: Callable[[], tuple[Config, object]]) -> bool:
    """Loads a configuration and logs the result in one line.

    Args:
        reloads: Receives the new configuration.
        load: Loads the configuration; returns it and the changes.

    Returns:
        Whether the configuration was loaded. If not, nothing has changed.
    """
    try:
        config, what = load()
    except BackworksError as error:
        text = "; ".join(error.errors) if isinstance(error, ConfigError) else f"{error}".replace("\n", "; ")
        _logger.error("reload failed, keeping the current configuration: %s", text)
        return False
    except Exception:
        _logger.exception("reload failed, keeping the current configuration")
        return False
    fixed = [f"server.{name}" for name in _FIXED if _differ(reloads.config, config, name)]
    reloads.config = config
    later = f"; restart the server to change {', '.join(fixed)}" if fixed else ""
    _logger.info("configuration reloaded: %s%s", what, later)
    return True


@contextmanager
def watching(reloads: Reloads) -> Iterator[None]:
    """Requests a reload when the configuration file or one of its libraries changes.

    Polls, because notifications of changes differ between systems and file systems, while polling works everywhere. A
    file that is still being written causes no reload until two checks in a row find it unchanged.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(reloads, over), name="backworks-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(reloads: Reloads, over: threading.Event) -> None:
    known = last = _stamps(reloads.config)
    while not over.wait(_LOOK):
        now = _stamps(reloads.config)
        if now == last and now != known:
            reloads.ask()
            known = now
        last = now


def _stamps(config: Config) -> Stamps:
    found: Stamps = {}
    for path in _files(config):
        with suppress(OSError):
            status = path.stat()
            found[path] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _files(config: Config) -> Iterator[Path]:
    if config.source.file is not None:
        yield config.source.file
    for plugin in config.plugins.values():
        if plugin.enabled and isinstance(plugin.path, Path):
            with suppress(PluginNotFound):
                yield resolve_library(plugin.path)
    discovery = config.plugin_discovery
    for directory in discovery.directories if discovery.enabled else ():
        for current, directories, names in os.walk(directory):
            yield from (Path(current, name) for name in names if name.lower().endswith(SUFFIXES))
            if not discovery.recursive:
                directories.clear()


def _differ(old: Config, new: Config, name: str) -> bool:
    return bool(getattr(old.server, name) != getattr(new.server, name))
