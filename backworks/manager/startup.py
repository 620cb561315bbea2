"""Lists the plugins to start, in order, from a checked configuration or from directories."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.config.modules import import_object
from backworks.config.plugins import plugin_config
from backworks.errors import (
    BackworksError,
    ConfigError,
    PluginLoadError,
    PluginNotFound,
    PluginStateError,
    WrongPlatformError,
)
from backworks.loading.paths import resolve_library
from backworks.loading.prepared import Prepared, prepare
from backworks.manager.wanted import Wanted, WantedLibrary, WantedObject
from backworks.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from backworks.config import Config
    from backworks.config.plugins import Checked
    from backworks.loading.discovery import DiscoveredPlugin
    from backworks.loading.registry import PluginRegistry

__all__ = ["file_of", "wanted_by", "wanted_of"]


def file_of(config: Config | None) -> Path:
    """Returns the file of a configuration.

    Raises:
        PluginStateError: The configuration has no file.
    """
    file = None if config is None else config.source.file
    if file is None:
        raise PluginStateError("the configuration has no file to read again; pass the new one to reload_config()")
    return file


def wanted_by(checked: Checked, builtins: Mapping[str, Any]) -> Mapping[str, Wanted]:
    """Lists the plugins of a configuration: those that it names, in their order, then the discovered ones.

    Args:
        checked: The configuration.
        builtins: Python plugins by name.
    """
    plugins = checked.config.plugins
    wanted = {
        plugin_id: _configured(plugin_id, checked, builtins) for plugin_id, each in plugins.items() if each.enabled
    }
    for found in _loadable(checked.registry, skip=plugins, known=set(_named_files(checked))):
        wanted[found.name] = _discovered(found, configured=True)
    return wanted


def wanted_of(registry: PluginRegistry) -> Mapping[str, Wanted]:
    """Lists the discovered plugins except those for other platforms; none of them is critical."""
    return {found.name: _discovered(found, configured=False) for found in _loadable(registry)}


def _loadable(
    registry: PluginRegistry, *, skip: Container[str] = (), known: Container[Path] = ()
) -> Iterator[DiscoveredPlugin]:
    for found in registry:
        foreign = any(isinstance(problem, WrongPlatformError) for problem in found.problems)
        if found.name not in skip and found.path.resolve() not in known and not foreign:
            yield found


def _discovered(found: DiscoveredPlugin, *, configured: bool) -> Wanted:
    prepared: Prepared | BackworksError
    try:
        prepared = prepare(found.path)
    except PluginLoadError as error:
        prepared = error
    settings = Settings(critical=False)
    return WantedLibrary(plugin_id=found.name, settings=settings, config={}, prepared=prepared, configured=configured)


def _configured(plugin_id: str, checked: Checked, builtins: Mapping[str, Any]) -> Wanted:
    plugin = checked.config.plugins[plugin_id]
    base = checked.config.source.base
    common: dict[str, Any] = {"plugin_id": plugin_id, "settings": plugin.settings}
    if plugin.plugin_type == "builtin":
        where = None if plugin.path is None else str(plugin.path)
        find = partial(_find_builtin, plugin_id, where, builtins, base)
        return WantedObject(**common, config=plugin.config, where=where, find=find, configured=True)
    prepared = checked.prepared[plugin_id]
    config = plugin_config(checked.config, plugin_id, prepared.manifest if isinstance(prepared, Prepared) else None)
    return WantedLibrary(**common, config=config, prepared=prepared, base=base, configured=True)


def _named_files(checked: Checked) -> Iterator[Path]:
    """Yields the files that the configuration names; discovery must not start them again under their own names."""
    for plugin_id, plugin in checked.config.plugins.items():
        prepared = checked.prepared.get(plugin_id)
        if isinstance(prepared, Prepared):
            yield prepared.path.resolve()
        elif isinstance(plugin.path, Path):  # the plugin is disabled, or cannot be loaded
            with contextlib.suppress(PluginNotFound):
                yield resolve_library(plugin.path).resolve()


def _find_builtin(plugin_id: str, where: str | None, builtins: Mapping[str, Any], base: Path) -> Any:
    if where is None:
        try:
            return builtins[plugin_id]
        except KeyError:
            text = (
                f"plugins.{plugin_id}: a builtin plugin without a path must be passed to the manager, as in "
                "PluginManager.from_config(..., builtins=[...]); or set its path to package.module:Class"
            )
            raise ConfigError([text], plugin=plugin_id) from None
    try:
        found = import_object(where, base)
        return found() if isinstance(found, type) else found
    except Exception as error:  # the module and the class may raise anything
        reason = str(error) if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: {error}"
        text = f"plugins.{plugin_id}.path: cannot import {where!r}: {reason}"
        raise ConfigError([text], plugin=plugin_id) from error
