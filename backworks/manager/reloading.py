"""From one configuration to the next while calls are made: new plugins first, then calls, then the end of the old."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from backworks.config.plugins import read_config
from backworks.errors import BackworksError, PluginStateError
from backworks.manager.running import Entries, Entry
from backworks.manager.startup import wanted_by

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backworks.config import Config
    from backworks.manager.wanted import Wanted

__all__ = ["Change", "Follower", "Reloaded"]

#: Seconds that a plugin has for its shutdown if it was started for a reload that fails.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Reloaded:
    """What a reload has changed: the ids of plugins.

    Attributes:
        started: Those that did not run before.
        replaced: Those whose settings or file had changed.
        stopped: Those that the configuration does not have any more.
        kept: Those that run on.
        failed: New ones that did not start, and may: they have ``critical: false``.
    """

    started: tuple[str, ...]
    replaced: tuple[str, ...]
    stopped: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[str, ...]

    def __str__(self) -> str:
        parts = [
            f"{', '.join(ids)} {what}"
            for ids, what in (
                (self.started, "started"),
                (self.replaced, "replaced"),
                (self.stopped, "stopped"),
                (self.failed, "did not start"),
            )
            if ids
        ]
        return "; ".join(parts) or "no plugin has changed"


class Follower(Protocol):
    """Something that goes along with a manager's configuration."""

    def prepare(self, config: Config) -> Any:
        """Makes what it will need, and changes nothing.

        Raises:
            ConfigError: The configuration is wrong.
        """
        ...

    def switch(self, prepared: Any) -> None:
        """Goes over to what :meth:`prepare` returned; cannot fail."""
        ...

    def settle(self, timeout: float | None) -> None:
        """Waits until nobody is about to call a plugin because of what was before."""
        ...


class Change:
    """One reload, step by step.

    Args:
        entries: The plugins.
        config: The new configuration.
        builtins: Python plugins by their names.

    Attributes:
        config: The new configuration.

    Raises:
        ConfigError: It is wrong.
    """

    def __init__(
        self,
        entries: Entries,
        config: Config | str | Path | Mapping[str, Any],
        builtins: Mapping[str, Any],
    ) -> None:
        checked = read_config(config)
        self.config = checked.config
        self._entries = entries
        self._wanted = wanted_by(checked, builtins)
        self._before = entries.running
        self._new: dict[str, Entry] = {}
        self._failed: dict[str, BackworksError] = {}

    @property
    def result(self) -> Reloaded:
        """What it changes."""
        return Reloaded(
            tuple(key for key in self._new if key not in self._before),
            tuple(key for key in self._new if key in self._before),
            tuple(key for key in self._before if self._is_superfluous(key)),
            tuple(key for key in self._before if key not in self._new and not self._is_superfluous(key)),
            tuple(self._failed),
        )

    def start(self) -> None:
        """Starts what is new or has changed.

        Raises:
            PluginLoadError, PluginError: One of them does not start. None of them runs then.
        """
        try:
            for wanted in self._wanted.values():
                self._start(wanted)
        except BaseException:
            for entry in reversed(self._new.values()):
                entry.close(_PATIENCE)
            raise

    def commit(self) -> None:
        """Has calls go to what was started.

        Raises:
            PluginStateError: The plugins were changed meanwhile, or closed.
        """
        self._entries.exchange(self._new, self._before)
        self._entries.forget_failures()
        for plugin_id, error in self._failed.items():
            self._entries.fail(plugin_id, error)

    def finish(self) -> list[Entry]:
        """Takes out what is not wanted any more; returns all that is to be closed."""
        superfluous = [entry for key, entry in self._before.items() if self._is_superfluous(key)]
        replaced = [self._before[key] for key in self._new if key in self._before]
        return [*replaced, *filter(self._entries.remove, superfluous)]

    def _start(self, wanted: Wanted) -> None:
        plugin_id = wanted.plugin_id
        old = self._before.get(plugin_id)
        if old is not None and not old.wanted.configured:
            raise PluginStateError(
                f"{plugin_id}: the program runs a plugin of that id itself; unload it, or give another name in the "
                "configuration",
                plugin=plugin_id,
            )
        if old is not None and old.wanted == wanted and old.plugin.state in _ALIVE:
            return
        try:
            self._new[plugin_id] = Entry(wanted)
        except BackworksError as error:
            error.plugin = plugin_id
            if wanted.settings.critical or old is not None:
                raise
            self._failed[plugin_id] = error

    def _is_superfluous(self, plugin_id: str) -> bool:
        return self._before[plugin_id].wanted.configured and plugin_id not in self._wanted


#: What a plugin does that needs no new start.
_ALIVE = ("running", "quarantined", "restarting")
