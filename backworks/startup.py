"""From a configuration, or from directories, to plugins that run: which are started, from where, and in which order."""

from __future__ import annotations

import contextlib
import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.config import Config, as_config
from backworks.config.plugins import check_plugins
from backworks.errors import BackworksError, ConfigError, PluginNotFound, WrongPlatformError
from backworks.paths import resolve_library
from backworks.registry import PluginRegistry, discover

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from backworks.config import PluginConfig
    from backworks.manager import PluginManager

__all__ = ["read_config", "start_configured", "start_discovered"]


def read_config(config: Config | str | Path | Mapping[str, Any]) -> Config:
    """Reads a configuration and compares it with what its plugins' files say.

    Args:
        config: A configuration, or the path of one, or the mapping that a file would hold.

    Raises:
        ConfigError: It is wrong.
    """
    found = as_config(config)
    wrong = check_plugins(found).settings
    if wrong:
        raise ConfigError(wrong)
    return found


def start_configured(manager: PluginManager, config: Config, builtins: Mapping[str, Any]) -> None:
    """Starts the plugins that a configuration names, in their order, and then those that it has found.

    Args:
        manager: Where they will run.
        config: What :func:`read_config` returned.
        builtins: Python plugins by their names.

    Raises:
        ConfigError, PluginLoadError, PluginError: A critical plugin does not start.
    """
    discovery = config.plugin_discovery
    registry = discover(discovery.directories if discovery.enabled else (), recursive=discovery.recursive)
    for plugin_id, settings in config.plugins.items():
        if settings.enabled:
            starter = _starter(manager, plugin_id, settings, config.source.base, registry, builtins)
            _try(manager, plugin_id, critical=settings.critical, starter=starter)
    start_discovered(manager, registry, skip=config.plugins, known=_files(config))


def start_discovered(
    manager: PluginManager, registry: PluginRegistry, *, skip: Container[str] = (), known: Container[Path] = ()
) -> None:
    """Starts what was found, but for what is built for other platforms; none of it is critical.

    Args:
        manager: Where the plugins will run.
        registry: What was found.
        skip: Names that are not started.
        known: Files that are not started, whatever their names.
    """
    for found in registry:
        foreign = any(isinstance(problem, WrongPlatformError) for problem in found.problems)
        if found.name not in skip and found.path.resolve() not in known and not foreign:
            _try(manager, found.name, critical=False, starter=partial(manager.load, found.path, critical=False))


def _starter(
    manager: PluginManager,
    plugin_id: str,
    settings: PluginConfig,
    base: Path,
    registry: PluginRegistry,
    builtins: Mapping[str, Any],
) -> Callable[[], object]:
    options: dict[str, Any] = {
        "plugin_id": plugin_id,
        "isolation": settings.isolation,
        "workers": settings.workers,
        "timeout": settings.timeout,
        "critical": settings.critical,
    }
    if settings.plugin_type == "builtin":
        return lambda: manager.register_builtin(
            _find_builtin(plugin_id, settings, builtins), settings.config, **options
        )
    return lambda: manager.load(settings.path or registry.get(plugin_id).path, settings.config, base=base, **options)


def _try(manager: PluginManager, plugin_id: str, *, critical: bool, starter: Callable[[], object]) -> None:
    try:
        starter()
    except BackworksError as error:
        if critical:
            raise
        manager.note_failure(plugin_id, error)


def _files(config: Config) -> set[Path]:
    """The files that the configuration names: discovery must not start them a second time under their own names."""
    files = set()
    for settings in config.plugins.values():
        if isinstance(settings.path, Path):
            with contextlib.suppress(PluginNotFound):
                files.add(resolve_library(settings.path).resolve())
    return files


def _find_builtin(plugin_id: str, settings: PluginConfig, builtins: Mapping[str, Any]) -> Any:
    where = settings.path
    if where is None:
        try:
            return builtins[plugin_id]
        except KeyError:
            text = (
                f"plugins.{plugin_id}: a builtin plugin without a path must be given to the manager: "
                "PluginManager.from_config(..., builtins=[...]); or name it: path: package.module:Class"
            )
            raise ConfigError([text], plugin=plugin_id) from None
    module, _, attribute = str(where).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        text = f"plugins.{plugin_id}.path: {str(where)!r} cannot be imported: {error}"
        raise ConfigError([text], plugin=plugin_id) from error
    return found() if isinstance(found, type) else found
