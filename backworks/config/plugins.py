"""Checks a configuration against the plugins' files, without loading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.config.checks import suggestion
from backworks.config.load import as_config
from backworks.config.modules import has_module
from backworks.config.source import KeyPath, Problem, show
from backworks.errors import BackworksError, ConfigError, PluginLoadError, PluginStateError
from backworks.loading.inspection import inspect_library, isolation_problem
from backworks.loading.linked import clash
from backworks.loading.linking import link_problems
from backworks.loading.paths import resolve_library
from backworks.loading.prepared import Prepared, prepare
from backworks.loading.registry import PluginRegistry, discover
from backworks.loading.schema import absolute_paths, missing_files, violations, with_defaults, with_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike
    from typing import Any

    from backworks.config.models import Config
    from backworks.loading.staging import Staged

__all__ = [
    "Checked",
    "absolute_plugin_configs",
    "add_plugin_schemas",
    "check_plugins",
    "manifests",
    "plugin_config",
    "read_config",
]


@dataclass(frozen=True)
class Checked:
    """A configuration and the result of checking its plugins' files: everything that startup needs.

    The lists contain lines in the format of a ``ConfigError``.

    Attributes:
        config: The configuration.
        registry: The plugins that its ``plugin_discovery`` finds.
        prepared: The library of each enabled external plugin, or the error if there is none.
        settings: Plugin configurations that violate the plugin's schema, isolations that its manifest does not
            accept, and handlers that do not exist.
        libraries: Files that this host cannot load, and modules of builtin plugins that do not exist.
        absent: Paths in plugins' configurations at which there is no file (yet).
        left_out: Files that this host cannot load, of plugins with ``critical: false``; the host starts without them.
    """

    config: Config
    registry: PluginRegistry
    prepared: Mapping[str, Prepared | BackworksError]
    settings: list[str]
    libraries: list[str]
    absent: list[str]
    left_out: list[str]


def read_config(config: Config | str | PathLike[str] | Mapping[str, object]) -> Checked:
    """Reads a configuration and checks it against its plugins' files.

    Args:
        config: A configuration, the path of a file, or a mapping with the content of a file.

    Raises:
        ConfigError: The configuration is not valid.
    """
    checked = check_plugins(as_config(config))
    if checked.settings:
        raise ConfigError(checked.settings)
    return checked


def check_plugins(config: Config, *, linking: bool = False) -> Checked:
    """Reads the files of all enabled plugins and checks the configuration against them.

    Args:
        config: The configuration.
        linking: Whether to also look for the libraries and symbols that the plugins need. The start of a plugin does
            not, because the dynamic linker finds what is missing.
    """
    settings: list[Problem] = []
    absent: list[Problem] = []
    broken: dict[bool, list[Problem]] = {True: [], False: []}  # by whether the plugin is critical
    discovery = config.plugin_discovery
    registry = discover(discovery.directories if discovery.enabled else (), recursive=discovery.recursive)
    libraries = {name: each for name, each in config.plugins.items() if each.enabled and each.plugin_type == "external"}
    prepared = {plugin_id: _prepared(plugin_id, plugin.path, registry) for plugin_id, plugin in libraries.items()}
    for plugin_id, found in prepared.items():
        plugin = libraries[plugin_id]
        if isinstance(found, Prepared):
            settings += _violations(config, plugin_id, found.manifest)
            absent += _absent(config, plugin_id, found.manifest)
            if text := isolation_problem(found.manifest, plugin.isolation):
                settings.append(Problem(("plugins", plugin_id, "isolation"), text))
        broken[plugin.critical] += _faults(plugin_id, plugin.path, found, registry)
        if linking and isinstance(found, Prepared) and not found.problems:
            unlinked = [Problem(("plugins", plugin_id, "path"), str(each)) for each in link_problems(found.staged.info)]
            broken[plugin.critical] += unlinked
    for plugin_id, text in _clashes(config, prepared):
        broken[libraries[plugin_id].critical].append(Problem(("plugins", plugin_id, "path"), text))
    for plugin_id, plugin in config.plugins.items():
        if plugin.enabled and plugin.plugin_type == "builtin" and plugin.path is not None:
            broken[plugin.critical] += _module_faults(plugin_id, str(plugin.path), config.source.base)
    for path, endpoint in config.endpoints.items():
        handler = endpoint.runtime.handler
        if handler not in config.plugins and handler not in registry:
            text = _not_found(handler, registry)
            settings.append(Problem(("endpoints", path, "runtime", "handler"), text))
    lines = map(config.source.lines, (settings, broken[True], absent, broken[False]))
    return Checked(config, registry, prepared, *lines)


def _prepared(plugin_id: str, path: Path | str | None, registry: PluginRegistry) -> Prepared | BackworksError:
    try:
        return prepare(path or registry.get(plugin_id).path)
    except (PluginLoadError, PluginStateError) as error:
        return error


def _faults(
    plugin_id: str, path: Path | str | None, found: Prepared | BackworksError, registry: PluginRegistry
) -> list[Problem]:
    """Lists the reasons why a plugin cannot load."""
    if path is None and plugin_id not in registry:
        return [Problem(("plugins", plugin_id), _not_found(plugin_id, registry), at_key=True)]
    errors = found.problems if isinstance(found, Prepared) else (found,)
    return [Problem(("plugins", plugin_id, "path"), str(error)) for error in errors]


def _clashes(config: Config, prepared: Mapping[str, Prepared | BackworksError]) -> Iterator[tuple[str, str]]:
    """Yields the plugins that cannot run in the host's process because of another one, with the reason."""
    before: list[Staged] = []
    for plugin_id, found in prepared.items():
        if isinstance(found, Prepared) and config.plugins[plugin_id].isolation != "process":
            text = clash(found.staged, before)
            if text is None:
                before.append(found.staged)
            else:
                yield plugin_id, f"{found.path}: {text}"


def add_plugin_schemas(schema: dict[str, Any], config: Config) -> None:
    """Adds what the manifests of a configuration's plugins accept to the JSON Schema of configurations.

    Args:
        schema: The return value of :func:`backworks.config.config_schema`, which this function modifies.
        config: The configuration. The schema of a plugin without a readable manifest stays unchanged.
    """
    plugins = schema["properties"]["plugins"]
    for plugin_id, manifest in manifests(config).items():
        known: dict[str, Any] = {}
        if "config_schema" in manifest:
            # A separate schema resource, so that its references resolve within it.
            known["config"] = {"$id": f"urn:backworks:plugin:{plugin_id}", **manifest["config_schema"]}
        if "isolation" in manifest:
            known["isolation"] = {"enum": manifest["isolation"]}
        if known:
            reference = plugins["additionalProperties"]["$ref"]
            plugins.setdefault("properties", {})[plugin_id] = {"$ref": reference, "properties": known}


def manifests(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Returns the manifest of each external plugin that a configuration names or discovers, if it can be read."""
    discovery = config.plugin_discovery
    registry = discover(discovery.directories if discovery.enabled else (), recursive=discovery.recursive)
    found = {each.name: each.info.manifest for each in registry if each.info is not None}
    for plugin_id, plugin in config.plugins.items():
        if isinstance(plugin.path, Path):
            try:
                found[plugin_id] = inspect_library(resolve_library(plugin.path)).manifest
            except PluginLoadError:
                found[plugin_id] = None
        elif plugin.plugin_type == "builtin":
            found[plugin_id] = None
    return {plugin_id: manifest for plugin_id, manifest in found.items() if manifest is not None}


def plugin_config(config: Config, plugin_id: str, manifest: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Returns a plugin's own configuration, with text wherever its schema requires text of an unquoted variable."""
    path = ("plugins", plugin_id, "config")
    texts = {where[3:]: text for where, text in config.source.texts.items() if where[:3] == path}
    written = config.plugins[plugin_id].config
    found: Mapping[str, Any] = with_texts(written, (manifest or {}).get("config_schema"), texts)
    return found


def absolute_plugin_configs(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Returns the own configuration of each plugin, with the paths that its schema declares made absolute."""
    found = manifests(config)
    return {
        plugin_id: absolute_paths(
            plugin_config(config, plugin_id, found.get(plugin_id)),
            found.get(plugin_id, {}).get("config_schema"),
            config.source.base,
        )
        for plugin_id in config.plugins
    }


def _violations(config: Config, plugin_id: str, manifest: Mapping[str, Any] | None) -> list[Problem]:
    if manifest is None or "config_schema" not in manifest:
        return []
    path: KeyPath = ("plugins", plugin_id, "config")
    found = []
    schema = manifest["config_schema"]
    settings = with_defaults(plugin_config(config, plugin_id, manifest), schema)
    for where, message, wants_text in violations(settings, schema):
        place = (*path, *where)
        hidden = [text for at, text in config.source.written.items() if at[: len(place)] == place]
        text = f"the plugin's schema rejects the value of {show(hidden[0])}" if hidden else message
        if wants_text and config.source.name is not None:
            text += "; quote the value if it is text"
        found.append(Problem(place, text, at_key=not where))
    return found


def _absent(config: Config, plugin_id: str, manifest: Mapping[str, Any] | None) -> Iterator[Problem]:
    schema = (manifest or {}).get("config_schema")
    settings = absolute_paths(plugin_config(config, plugin_id, manifest), schema, config.source.base)
    for where in missing_files(settings, schema):
        path: KeyPath = ("plugins", plugin_id, "config", *where)
        shown = config.source.written.get(path) or _value_at(settings, where)
        yield Problem(path, f"there is no file {show(shown)}")


def _value_at(settings: Any, where: tuple[str, ...]) -> Any:
    for key in where:
        settings = settings[key]
    return settings


def _module_faults(plugin_id: str, path: str, base: Path) -> Iterator[Problem]:
    """Reports a builtin plugin whose module is not there; imports nothing."""
    module = path.partition(":")[0]
    if not has_module(module, base):
        text = f"there is no module {show(module)}, neither in the directory of this file nor on Python's path"
        yield Problem(("plugins", plugin_id, "path"), text)


def _not_found(name: str, found: PluginRegistry) -> str:
    return f"plugin_discovery finds no plugin {show(name)}; {suggestion(name, list(found.names()))}"
