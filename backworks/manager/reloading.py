"""Switches to another configuration under load: starts new plugins, redirects calls, then closes the old plugins."""

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

#: How many seconds the shutdown of a plugin may take that was started for a failed reload.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Reloaded:
    """The result of a reload, as the ids of plugins.

    Attributes:
        started: Plugins that did not run before.
        replaced: Plugins whose settings or file have changed.
        stopped: Plugins that the configuration no longer contains.
        kept: Plugins that keep running unchanged.
        failed: New plugins with ``critical: false`` that did not start.
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
        return "; ".join(parts) or "no plugins changed"


class Follower(Protocol):
    """An object that switches together with a manager to another configuration."""

    def prepare(self, config: Config) -> Any:
        """Prepares the switch without changing anything.

        Raises:
            ConfigError: The configuration is not valid.
        """
        ...

    def switch(self, prepared: Any) -> None:
        """Switches to the result of :meth:`prepare`; must not fail."""
        ...

    def settle(self, timeout: float | None) -> None:
        """Waits until no request can call a plugin of the old configuration any more."""
        ...


class Change:
    """One reload, step by step.

    Args:
        entries: The plugins.
        config: The new configuration.
        builtins: Python plugins by name.

    Attributes:
        config: The new configuration.

    Raises:
        ConfigError: The new configuration is not valid.
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
        """The changes."""
        return Reloaded(
            tuple(key for key in self._new if key not in self._before),
            tuple(key for key in self._new if key in self._before),
            tuple(key for key in self._before if self._is_superfluous(key)),
            tuple(key for key in self._before if key not in self._new and not self._is_superfluous(key)),
            tuple(self._failed),
        )

    def start(self) -> None:
        """Starts the plugins that are new or have changed.

        Raises:
            PluginLoadError, PluginError: A plugin does not start. Those already started have been closed.
        """
        try:
            for wanted in self._wanted.values():
                self._start(wanted)
        except BaseException:
            for entry in reversed(self._new.values()):
                entry.close(_PATIENCE)
            raise

    def commit(self) -> None:
        """Redirects calls to the plugins that were started.

        Raises:
            PluginStateError: Another thread has changed the plugins or closed the manager.
        """
        self._entries.exchange(self._new, self._before)
        self._entries.forget_failures()
        for plugin_id, error in self._failed.items():
            self._entries.fail(self._wanted[plugin_id], error)

    def finish(self) -> list[Entry]:
        """Removes the plugins that the new configuration no longer contains; returns all entries to close."""
        superfluous = [entry for key, entry in self._before.items() if self._is_superfluous(key)]
        replaced = [self._before[key] for key in self._new if key in self._before]
        return [*replaced, *filter(self._entries.remove, superfluous)]

    def _start(self, wanted: Wanted) -> None:
        plugin_id = wanted.plugin_id
        old = self._before.get(plugin_id)
        if old is not None and not old.wanted.configured:
            raise PluginStateError(
                f"{plugin_id}: the program has already started a plugin with this id; unload it, or use another name "
                "in the configuration",
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


#: The states of a plugin that does not need a new start.
_ALIVE = ("running", "quarantined", "restarting")
