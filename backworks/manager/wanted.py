"""A plugin that a manager should run: a library or a Python object, with its settings and configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backworks.errors import BackworksError, ConfigError, PluginLoadError
from backworks.loading.prepared import Prepared, prepare
from backworks.starting import start, start_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Self

    from backworks.plugin import Plugin
    from backworks.settings import Settings

__all__ = ["Wanted", "WantedLibrary", "WantedObject"]


@dataclass(frozen=True, kw_only=True)
class Wanted(ABC):
    """A plugin that should run. Two are equal if their settings, configuration and file are equal.

    Attributes:
        plugin_id: The id of the plugin in the manager.
        settings: How the plugin runs.
        config: The plugin's own configuration.
        configured: Whether it comes from a configuration or its discovery; otherwise the program started it.
    """

    plugin_id: str
    settings: Settings
    config: Mapping[str, Any]
    configured: bool

    @abstractmethod
    def start(self) -> Plugin:
        """Starts the plugin.

        Raises:
            BackworksError: The plugin does not start.
        """

    @abstractmethod
    def renewed(self) -> Self:
        """Returns a copy with the current content of the plugin's file.

        Raises:
            PluginLoadError: The file cannot be read as a library.
        """


@dataclass(frozen=True, kw_only=True)
class WantedLibrary(Wanted):
    """A library.

    Attributes:
        prepared: The library, or the error if there is none.
        base: The directory at which relative paths in the plugin's configuration start, or ``None`` to keep them
            unchanged.
    """

    prepared: Prepared | BackworksError
    base: Path | None = None

    def start(self) -> Plugin:
        if isinstance(self.prepared, BackworksError):
            raise self.prepared
        return start(self.prepared, self.settings, self.config, base=self.base, plugin_id=self.plugin_id)

    def renewed(self) -> Self:
        if isinstance(self.prepared, Prepared | PluginLoadError):
            return replace(self, prepared=prepare(self.prepared.path))
        return self


@dataclass(frozen=True, kw_only=True)
class WantedObject(Wanted):
    """A Python object.

    Attributes:
        where: Its import path, or ``None`` if the program passed the object.
        find: Returns the object, or raises a ``ConfigError``.
    """

    where: str | None
    find: Callable[[], Any] = field(compare=False)

    def start(self) -> Plugin:
        try:
            return start_object(self.find(), self.settings, self.config, plugin_id=self.plugin_id)
        except TypeError as error:  # the object is not a plugin
            if not self.configured:
                raise
            raise ConfigError([f"plugins.{self.plugin_id}: {error}"], plugin=self.plugin_id) from error

    def renewed(self) -> Self:
        return self
