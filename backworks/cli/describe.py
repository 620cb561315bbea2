"""What ``plugin list`` and ``plugin inspect`` show about a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backworks.errors import PluginLoadError
from backworks.ffi.contract import OPTIONAL_SYMBOLS, REQUIRED_SYMBOLS
from backworks.loading.discovery import DiscoveredPlugin, PluginDiscovery
from backworks.loading.paths import resolve_library
from backworks.loading.registry import PluginRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["details", "entries", "paragraphs", "platform", "reasons", "summary"]

_PREFIX = "backworks_plugin_"


def entries(places: Iterable[str]) -> list[tuple[DiscoveredPlugin, bool]]:
    """Finds the plugins in directories and configurations, sorted by name; of one name, the plugin in use comes first.

    Returns:
        Each plugin, and whether it is the one in use under its name.

    Raises:
        ConfigError: A place is a file, but not a valid configuration.
    """
    registry = PluginRegistry()
    for place in places:
        if Path(place).is_dir():
            for found in PluginDiscovery([place]).scan():
                registry.add(found)
        else:
            for found, explicit in _of_config(place):
                registry.add(found, explicit=explicit)
    listed = []
    for name in registry.names():
        listed.append((registry.get(name), True))
        listed += [(other, False) for other in registry.shadowed(name)]
    return listed


def _of_config(path: str) -> Iterator[tuple[DiscoveredPlugin, bool]]:
    from backworks.config import load_config

    config = load_config(path)
    for plugin in config.plugins.values():
        if plugin.plugin_type == "external" and plugin.path is not None:
            try:
                file = resolve_library(plugin.path)
            except PluginLoadError:
                file = Path(plugin.path)
            yield DiscoveredPlugin.from_file(file), True
    discovery = config.plugin_discovery
    if discovery.enabled:
        for found in PluginDiscovery(discovery.directories, recursive=discovery.recursive).scan():
            yield found, False


def reasons(plugin: DiscoveredPlugin) -> list[str]:
    """Returns why a plugin cannot be loaded here, without the path, which is shown separately."""
    return [str(problem).removeprefix(f"{plugin.path}: ") for problem in plugin.problems]


def platform(plugin: DiscoveredPlugin) -> str | None:
    """Returns the system and processors that a plugin was built for, or ``None`` if the file is not a library."""
    return f"{plugin.info.system} {'+'.join(plugin.info.architectures)}" if plugin.info else None


def summary(plugin: DiscoveredPlugin) -> dict[str, Any]:
    """Returns the entry of a plugin in ``plugin list --json``."""
    return {
        "name": plugin.name,
        "version": plugin.version,
        "description": plugin.description,
        "platform": platform(plugin),
        "path": str(plugin.path),
        "loadable": plugin.loadable,
        "problems": reasons(plugin),
    }


def details(plugin: DiscoveredPlugin, sha256: str | None) -> dict[str, Any]:
    """Returns the output of ``plugin inspect --json``."""
    info = plugin.info
    data = summary(plugin) | {"sha256": sha256, "note": plugin.note}
    if info is None:
        return data
    return data | {
        "abi": (info.manifest or {}).get("abi"),
        "format": info.format,
        "system": info.system,
        "architectures": info.architectures,
        "kind": info.kind,
        "size": info.size,
        "needed": info.needed,
        "symbols": sorted(info.exports),
        "manifest": info.manifest,
    }


def paragraphs(plugin: DiscoveredPlugin, sha256: str | None) -> Iterator[str]:
    """Yields the output of ``plugin inspect``, line by line."""
    info = plugin.info
    yield f"file      {plugin.path}"
    if info is None:
        return
    yield f"sha256    {sha256}"
    manifest = info.manifest or {}
    abi = manifest.get("abi", "unknown until it is loaded")
    plugin_symbols = [name for name in (*REQUIRED_SYMBOLS, *OPTIONAL_SYMBOLS) if name in info.exports]
    symbols = ", ".join(name.removeprefix(_PREFIX) for name in plugin_symbols) or "none"
    others = sum(not name.startswith(_PREFIX) for name in info.exports)
    yield f"name      {plugin.name}"
    yield f"version   {plugin.version or 'unknown until it is loaded'}"
    if plugin.description:
        yield f"about     {plugin.description}"
    yield f"abi       {abi}"
    yield f"platform  {platform(plugin)} ({info.format} {info.kind}, {info.size:,} bytes)"
    yield f"symbols   {symbols}{f', and {others} outside the ABI' if others else ''}"
    if plugin.note:
        yield f"note      {plugin.note}"
    if info.manifest is not None:
        yield "manifest"
        yield json.dumps(info.manifest, indent=2, ensure_ascii=False)
