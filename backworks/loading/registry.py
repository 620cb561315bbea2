"""The plugins that are known, by name, and the rule for two files of one name."""

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
    """Knows plugins by name. Safe to use from several threads.

    Of two files with one name, the first of these rules that tells them apart decides:

    1. A file that the configuration names by its path comes before one that was found. Also if it is broken:
       to run another in its place would hide that.
    2. One that can be loaded here comes before one that cannot. So a plugin may lie in a directory for three
       systems.
    3. The higher version (semver.org) comes before the lower, and before one without a version.
    4. The one that was added first comes before the later: that in the first directory.

    Where rule 1, 3 or 4 decided between two that load, one warning in the log names both.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By name: the candidates and whether they were named explicitly, the best first.
        self._ranked: dict[str, list[tuple[bool, DiscoveredPlugin]]] = {}

    def add(self, candidate: DiscoveredPlugin, *, explicit: bool = False) -> None:
        """Adds a plugin. One whose file is known already is added once.

        Args:
            candidate: The plugin, as :class:`~backworks.loading.discovery.PluginDiscovery` describes it.
            explicit: Whether the configuration names its file.
        """
        with self._lock:
            ranked = self._ranked.setdefault(candidate.name, [])
            for index, (was_explicit, known) in enumerate(ranked):
                if os.path.realpath(known.path) == os.path.realpath(candidate.path):
                    ranked[index] = (was_explicit or explicit, candidate)
                    ranked.sort(key=_rank, reverse=True)
                    return
            # The sort is stable and the newcomer last, so equals stay in the order in which they were added.
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
                "two files are the plugin %r: %s (version %s) is used and %s (version %s) is not, because %s",
                candidate.name,
                winner[1].path,
                winner[1].version,
                loser[1].path,
                loser[1].version,
                why,
            )

    def get(self, name: str) -> DiscoveredPlugin:
        """Returns the plugin of that name.

        Raises:
            PluginStateError: There is none; the text has the names that are like it.
        """
        with self._lock:
            if name in self._ranked:
                return self._ranked[name][0][1]
            known = sorted(self._ranked)
        close = difflib.get_close_matches(name, known)
        if close:
            hint = f"did you mean {' or '.join(repr(match) for match in close)}?"
        else:
            hint = f"known are: {', '.join(known)}" if known else "none was found"
        raise PluginStateError(f"there is no plugin {name!r}; {hint}", plugin=name)

    def shadowed(self, name: str) -> tuple[DiscoveredPlugin, ...]:
        """Returns the plugins of that name which are not used, the best first."""
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
    """Returns why the one comes before the other, or ``None`` where nobody needs to be told."""
    if winner[0] != loser[0]:
        return "the configuration names its path" if loser[1].loadable else None
    if not (winner[1].loadable and loser[1].loadable):
        return None
    if version_key(winner[1].version) > version_key(loser[1].version):
        return "its version is higher"
    return "it was found first"
