"""From a configuration, or from directories, to plugins that run: which are started, from where, and in which order."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.config import Config, as_config
from backworks.config.plugins import check_plugins
from backworks.errors import BackworksError, ConfigError, PluginNotFound, PluginStateError, WrongPlatformError
from backworks.isolation.options import Limits, ProcessOptions, Restart
from backworks.isolation.policy import Breaker, Policy
from backworks.loading.paths import resolve_library
from backworks.loading.registry import PluginRegistry, discover
from backworks.makers import builtin_maker, library_maker
from backworks.manager.running import Entries, Wanted

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from backworks.config import PluginConfig
    from backworks.loading.discovery import DiscoveredPlugin
    from backworks.plugin import Plugin

__all__ = ["file_of", "read_config", "start_configured", "start_discovered", "wanted_by"]


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


def file_of(config: Config | None) -> Path:
    """Finds the file that a configuration was read from.

    Raises:
        PluginStateError: There is none.
    """
    file = None if config is None else config.source.file
    if file is None:
        raise PluginStateError("the configuration was not read from a file; give the new one to reload_config()")
    return file


def wanted_by(config: Config, builtins: Mapping[str, Any]) -> Mapping[str, Wanted]:
    """Lists the plugins that a configuration wants: those that it names, in their order, and then those discovered.

    Args:
        config: What :func:`read_config` returned.
        builtins: Python plugins by their names.
    """
    discovery = config.plugin_discovery
    registry = discover(discovery.directories if discovery.enabled else (), recursive=discovery.recursive)
    wanted = {
        plugin_id: _configured(plugin_id, settings, config.source.base, registry, builtins)
        for plugin_id, settings in config.plugins.items()
        if settings.enabled
    }
    for found in _loadable(registry, skip=config.plugins, known=_files(config)):
        wanted[found.name] = _discovered(found, ("discovered", found.path, _digest(found.path)))
    return wanted


def start_configured(entries: Entries, config: Config, builtins: Mapping[str, Any]) -> None:
    """Starts what a configuration wants.

    Args:
        entries: Where the plugins will be.
        config: What :func:`read_config` returned.
        builtins: Python plugins by their names.

    Raises:
        ConfigError, PluginLoadError, PluginError: A critical plugin does not start.
    """
    for wanted in wanted_by(config, builtins).values():
        _start(entries, wanted)


def start_discovered(entries: Entries, registry: PluginRegistry) -> None:
    """Starts what was found, but for what is built for other platforms; none of it is critical.

    Args:
        entries: Where the plugins will be.
        registry: What was found.
    """
    for found in _loadable(registry):
        _start(entries, _discovered(found, None))


def _start(entries: Entries, wanted: Wanted) -> None:
    try:
        entries.start(wanted)
    except BackworksError as error:
        if wanted.critical:
            raise
        entries.fail(wanted.plugin_id, error)


def _loadable(
    registry: PluginRegistry, *, skip: Container[str] = (), known: Container[Path] = ()
) -> Iterator[DiscoveredPlugin]:
    for found in registry:
        foreign = any(isinstance(problem, WrongPlatformError) for problem in found.problems)
        if found.name not in skip and found.path.resolve() not in known and not foreign:
            yield found


def _discovered(found: DiscoveredPlugin, origin: object) -> Wanted:
    make = library_maker(
        found.path,
        None,
        base=None,
        plugin_id=found.name,
        isolation="process",
        workers=None,
        timeout=None,
        process=ProcessOptions(),
        policy=Policy(),
    )
    return Wanted(found.name, make, critical=False, origin=origin)


def _configured(
    plugin_id: str, settings: PluginConfig, base: Path, registry: PluginRegistry, builtins: Mapping[str, Any]
) -> Wanted:
    options: dict[str, Any] = {
        "plugin_id": plugin_id,
        "isolation": settings.isolation,
        "workers": settings.workers,
        "timeout": settings.timeout,
        "policy": _policy(settings),
    }
    builtin = settings.plugin_type == "builtin"
    path = settings.path
    if path is None and not builtin and plugin_id in registry:
        path = registry.get(plugin_id).path

    def make() -> Plugin:
        if builtin:
            return builtin_maker(_find_builtin(plugin_id, settings, builtins), settings.config, **options)()
        where = path or registry.get(plugin_id).path
        return library_maker(where, settings.config, base=base, process=_process(settings), **options)()

    origin = (settings, base, _digest(path) if isinstance(path, Path) else None)
    return Wanted(plugin_id, make, settings.critical, settings.health_check, origin)


def _policy(settings: PluginConfig) -> Policy:
    breaker = None if settings.breaker is None else Breaker(**settings.breaker.model_dump())
    return Policy(settings.queue, breaker, settings.health_check)


def _process(settings: PluginConfig) -> ProcessOptions:
    return ProcessOptions(
        settings.queue,
        Restart(**settings.restart.model_dump()),
        Limits(**settings.limits.model_dump()),
        settings.environment,
        settings.start_timeout,
    )


def _digest(path: Path) -> bytes | None:
    """Hashes a library as it is now; ``None`` if it cannot be read, which the start will say better."""
    with contextlib.suppress(OSError, PluginNotFound), resolve_library(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
    return None


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
