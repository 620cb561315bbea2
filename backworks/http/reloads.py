"""When a server loads its configuration anew: SIGHUP, or a file that has changed; and what it says of that."""

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

#: Seconds from one look at the files to the next.
_LOOK = 0.5
#: What only a start can change.
_FIXED = ("host", "port", "workers", "shutdown_timeout")

#: What the system says of each file: its place, its size, and when it was changed.
Stamps = dict[Path, tuple[int, ...]]


class Reloads:
    """The wish that the configuration is loaded anew.

    Args:
        config: The configuration that is in use now.

    Attributes:
        config: The configuration that is in use now.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._asked = False
        self._wanted: Config | None = None

    def ask(self, config: Config | None = None) -> None:
        """Asks for it. From any thread, and from a signal's handler.

        Args:
            config: The new configuration; without it, what the file says now.
        """
        self._wanted = config
        self._asked = True

    def take(self) -> tuple[Config | None] | None:
        """Returns the wish, once, or ``None``."""
        if not self._asked:
            return None
        self._asked = False
        return (self._wanted,)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Lets SIGHUP ask, where there is one, and where it is the main thread that may say so."""
        if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGHUP, lambda *_: self.ask())
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)


def attempt(reloads: Reloads, load: Callable[[], tuple[Config, object]]) -> bool:
    """Loads a configuration and logs, in one line, what came of it.

    Args:
        reloads: Is told the new configuration.
        load: Loads it; returns it and what has changed.

    Returns:
        Whether it is loaded. If not, everything is as it was.
    """
    try:
        config, what = load()
    except BackworksError as error:
        text = "; ".join(error.errors) if isinstance(error, ConfigError) else f"{error}".replace("\n", "; ")
        _logger.error("the configuration is not reloaded, and the old one stays: %s", text)
        return False
    except Exception:
        _logger.exception("the configuration is not reloaded, and the old one stays")
        return False
    fixed = [f"server.{name}" for name in _FIXED if _differ(reloads.config, config, name)]
    reloads.config = config
    later = f"; {', '.join(fixed)} will change at the next start" if fixed else ""
    _logger.info("the configuration is reloaded: %s%s", what, later)
    return True


@contextmanager
def watching(reloads: Reloads) -> Iterator[None]:
    """Asks for a reload when the file of the configuration, or a library of it, has changed.

    The system's ways to be told of changes differ from each other, and from themselves on other file systems; looking
    works everywhere. A file that is being written is left until it stays the same from one look to the next.
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
