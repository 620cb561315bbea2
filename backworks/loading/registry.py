"""The known plugins by name, and the rules that choose between files with the same name."""

from __future__ import annotations

import difflib
import logging
import os
import threading
from typing import TYPE_CHECKING

from backworks.errors import PluginStateError
from backworks.loading.discovery import PluginDiscovery
from backworks.loading.inspection import version_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backworks.loading.discovery import DiscoveredPlugin

__all__ = ["PluginRegistry", "discover"]

_log = logging.getLogger(__name__)


class PluginRegistry:
    """Plugins by name. Thread-safe.

    If two files have the same name, the first rule that distinguishes them decides:

    1. A file whose path the configuration names takes precedence over a discovered one, even if it is broken, because
       running another file instead would hide the fault.
    2. A file that this host can load takes precedence over one that it cannot. A directory can therefore contain the
       same plugin for several systems.
    3. The higher version (semver.org) takes precedence over the lower, and over a file without a version.
    4. The file added first takes precedence: the one in the first directory.

    If rule 1, 3 or 4 decides between two files that both load, a warning in the log names them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By name: (whether the configuration names the file, the candidate), in order of precedence.
        self._ranked: dict[str, list[tuple[bool, DiscoveredPlugin]]] = {}

    def add(self, candidate: DiscoveredPlugin, *, explicit: bool = False) -> None:
        """Adds a plugin, or updates it if its file is already known.

        Args:
            candidate: The plugin, as :class:`~backworks.loading.discovery.PluginDiscovery` returns it.
            explicit: Whether the configuration names its file.
        """
        with self._lock:
            ranked = self._ranked.setdefault(candidate.name, [])
            for index, (was_explicit, known) in enumerate(ranked):
                if os.path.realpath(known.path) == os.path.realpath(candidate.path):
                    ranked[index] = (was_explicit or explicit, candidate)
                    ranked.sort(key=_rank, reverse=True)
                    return
            # The sort is stable and the newcomer is last, so equal candidates stay in the order of their addition.
            newcomer = (explicit, candidate)
            ranked.append(newcomer)
            ranked.sort(key=_rank, reverse=True)
            winner, loser = ranked[0], newcomer
            if winner is newcomer:
                if len(ranked) == 1:
                    return
                loser = ranked[1]
        why = _reason(winner, loser)
        if why is not None:
            _log.warning(
                "two files contain plugin %r: using %s (version %s) instead of %s (version %s) because %s",
                candidate.name,
                winner[1].path,
                winner[1].version,
                loser[1].path,
                loser[1].version,
                why,
            )

    def get(self, name: str) -> DiscoveredPlugin:
        """Returns the plugin with a name.

        Raises:
            PluginStateError: There is none; the message suggests similar names.
        """
        with self._lock:
            if name in self._ranked:
                return self._ranked[name][0][1]
            known = sorted(self._ranked)
        close = difflib.get_close_matches(name, known)
        if close:
            hint = f"did you mean {' or '.join(repr(match) for match in close)}?"
        else:
            hint = f"expected one of {', '.join(known)}" if known else "no plugins were found"
        raise PluginStateError(f"there is no plugin {name!r}; {hint}", plugin=name)

    def shadowed(self, name: str) -> tuple[DiscoveredPlugin, ...]:
        """Returns the other plugins with a name, in order of precedence."""
        with self._lock:
            return tuple(plugin for _, plugin in self._ranked.get(name, [])[1:])

    def names(self) -> tuple[str, ...]:
        """Returns all names, sorted."""
        with self._lock:
            return tuple(sorted(self._ranked))

    def __iter__(self) -> Iterator[DiscoveredPlugin]:
        """Yields the plugin of each name, sorted by name."""
        with self._lock:
            best = [self._ranked[name][0][1] for name in sorted(self._ranked)]
        return iter(best)

    def __len__(self) -> int:
        with self._lock:
            return len(self._ranked)

    def __contains__(self, name: object) -> bool:
        with self._lock:
            return name in self._ranked


def discover(directories: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> PluginRegistry:
    """Returns the plugins in the directories; see :class:`~backworks.loading.discovery.PluginDiscovery`."""
    registry = PluginRegistry()
    for plugin in PluginDiscovery(directories, recursive=recursive).scan():
        registry.add(plugin)
    return registry


def _rank(entry: tuple[bool, DiscoveredPlugin]) -> tuple[bool, bool, tuple[object, ...]]:
    explicit, plugin = entry
    return explicit, plugin.loadable, version_key(plugin.version)


def _reason(winner: tuple[bool, DiscoveredPlugin], loser: tuple[bool, DiscoveredPlugin]) -> str | None:
    """Returns why the winner takes precedence, or ``None`` if the choice needs no warning."""
    if winner[0] != loser[0]:
        return "the configuration names its path" if loser[1].loadable else None
    if not (winner[1].loadable and loser[1].loadable):
        return None
    if version_key(winner[1].version) > version_key(loser[1].version):
        return "its version is higher"
    return "it was found first"
