"""The second look at a configuration: what the plugins' files say to it. Nothing of them is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from backworks.config.checks import suggestion
from backworks.config.source import KeyPath, Problem, show
from backworks.errors import PluginLoadError
from backworks.loading.inspection import inspect_library, isolation_problem, problems
from backworks.loading.paths import resolve_library
from backworks.loading.registry import PluginRegistry, discover
from backworks.loading.schema import violations

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from backworks.config.models import Config

__all__ = ["Findings", "add_plugin_schemas", "check_plugins", "check_settings"]


class Findings(NamedTuple):
    """What the plugins' files say to a configuration, as lines in the format of a ``ConfigError``.

    Attributes:
        settings: Configurations that break their plugin's schema, isolations that its manifest does not accept, and
            names that no plugin has.
        libraries: Files that will not load on this host.
        left_out: The same of plugins with ``critical: false``, without which the host starts.
    """

    settings: list[str]
    libraries: list[str]
    left_out: list[str]


def check_plugins(config: Config) -> Findings:
    """Reads the files of all enabled plugins and compares them with the configuration.

    Args:
        config: A configuration from a file or a dict.
    """
    settings: list[Problem] = []
    libraries: list[Problem] = []
    left_out: list[Problem] = []
    discovery = config.plugin_discovery
    found = discover(discovery.directories if discovery.enabled else (), recursive=discovery.recursive)
    for plugin_id, plugin in config.plugins.items():
        if not plugin.enabled or plugin.plugin_type == "builtin":
            continue
        broken = libraries if plugin.critical else left_out
        try:
            if plugin.path is None and plugin_id not in found:
                broken.append(Problem(("plugins", plugin_id), _not_found(plugin_id, found), at_key=True))
                continue
            info = inspect_library(resolve_library(plugin.path or found.get(plugin_id).path))
        except PluginLoadError as error:
            broken.append(Problem(("plugins", plugin_id, "path"), str(error)))
            continue
        broken += [Problem(("plugins", plugin_id, "path"), str(error)) for error in problems(info)]
        settings += _violations(config, plugin_id, info.manifest)
        if text := isolation_problem(info.manifest, plugin.isolation):
            settings.append(Problem(("plugins", plugin_id, "isolation"), text))
    for path, endpoint in config.endpoints.items():
        handler = endpoint.runtime.handler
        if handler not in config.plugins and handler not in found:
            text = _not_found(handler, found)
            settings.append(Problem(("endpoints", path, "runtime", "handler"), text))
    return Findings(*map(config.source.lines, (settings, libraries, left_out)))


def add_plugin_schemas(schema: dict[str, Any], config: Config) -> None:
    """Adds what the plugins of a configuration accept to the JSON Schema of configurations.

    Args:
        schema: What :func:`backworks.config.config_schema` returned; it is changed.
        config: The configuration. A plugin whose file is missing or says nothing stays as open as it was.
    """
    plugins = schema["properties"]["plugins"]
    for plugin_id, plugin in config.plugins.items():
        if not isinstance(plugin.path, Path):
            continue
        try:
            manifest = inspect_library(resolve_library(plugin.path)).manifest
        except PluginLoadError:
            continue
        known: dict[str, Any] = {}
        if manifest is not None and "config_schema" in manifest:
            # A resource of its own, so that its references point into itself.
            known["config"] = {"$id": f"urn:backworks:plugin:{plugin_id}", **manifest["config_schema"]}
        if manifest is not None and "isolation" in manifest:
            known["isolation"] = {"enum": manifest["isolation"]}
        if known:
            reference = plugins["additionalProperties"]["$ref"]
            plugins.setdefault("properties", {})[plugin_id] = {"$ref": reference, "properties": known}


def check_settings(config: Config, plugin_id: str, manifest: Mapping[str, Any] | None) -> list[str]:
    """Checks the ``config`` of one plugin against the schema of its manifest.

    Args:
        config: The whole configuration.
        plugin_id: Which plugin.
        manifest: What the plugin's file says of it.

    Returns:
        A line for each thing that is wrong. A value that came out of the environment is not shown, since it
        may be a secret.
    """
    return config.source.lines(_violations(config, plugin_id, manifest))


def _violations(config: Config, plugin_id: str, manifest: Mapping[str, Any] | None) -> list[Problem]:
    if manifest is None or "config_schema" not in manifest:
        return []
    path: KeyPath = ("plugins", plugin_id, "config")
    found = []
    for where, message in violations(config.plugins[plugin_id].config, manifest["config_schema"]):
        place = (*path, *where)
        hidden = [text for at, text in config.source.written.items() if at[: len(place)] == place]
        text = f"the plugin's schema does not accept the value of {show(hidden[0])}" if hidden else message
        found.append(Problem(place, text, at_key=not where))
    return found


def _not_found(name: str, found: PluginRegistry) -> str:
    return f"plugin_discovery finds no plugin {show(name)}; {suggestion(name, list(found.names()))}"
