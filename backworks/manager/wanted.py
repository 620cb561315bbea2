"""What a manager is to run: a library or a Python object, with its settings and its configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backworks.errors import BackworksError
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
    """A plugin that is to run. Two are equal if neither what is said of the plugin nor its file differs.

    Attributes:
        plugin_id: What the manager calls it.
        settings: How it is run.
        config: The plugin's own configuration.
        configured: Whether a configuration names or discovers it; otherwise the program started it.
    """

    plugin_id: str
    settings: Settings
    config: Mapping[str, Any]
    configured: bool

    @abstractmethod
    def start(self) -> Plugin:
        """Starts it.

        Raises:
            BackworksError: It does not start.
        """

    @abstractmethod
    def renewed(self) -> Self:
        """Returns the same with the plugin's file as it is now.

        Raises:
            PluginLoadError: The file cannot be read as a library.
        """


@dataclass(frozen=True, kw_only=True)
class WantedLibrary(Wanted):
    """A library.

    Attributes:
        prepared: The library, or why there is none.
        base: Where relative paths in the plugin's configuration start, or ``None`` to leave them as they are.
    """

    prepared: Prepared | BackworksError
    base: Path | None = None

    def start(self) -> Plugin:
        if isinstance(self.prepared, BackworksError):
            raise self.prepared
        return start(self.prepared, self.settings, self.config, base=self.base, plugin_id=self.plugin_id)

    def renewed(self) -> Self:
        return replace(self, prepared=prepare(self.prepared.path)) if isinstance(self.prepared, Prepared) else self


@dataclass(frozen=True, kw_only=True)
class WantedObject(Wanted):
    """A Python object.

    Attributes:
        where: What it is imported by, or ``None`` if the program has made it.
        find: Returns the object, or raises a ``ConfigError``.
    """

    where: str | None
    find: Callable[[], Any] = field(compare=False)

    def start(self) -> Plugin:
        return start_object(self.find(), self.settings, self.config, plugin_id=self.plugin_id)

    def renewed(self) -> Self:
        return self
