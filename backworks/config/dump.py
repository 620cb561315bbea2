"""Writes a configuration with all defaults and absolute paths, but without values that may be secret."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml

from backworks.config.checks import FOR_PROCESSES
from backworks.config.reader import plain_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backworks.config.models import Config
    from backworks.config.source import KeyPath

__all__ = ["config_data", "config_yaml"]


def config_data(config: Config, plugin_configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a configuration as values that JSON can represent.

    In the plugins' own configurations, a value written with ``${...}`` keeps that form, because it may be a secret.

    Args:
        config: The configuration.
        plugin_configs: The own configuration of each plugin, with absolute paths.
    """
    data = config.model_dump(mode="json")
    for plugin_id, plugin in data["plugins"].items():
        plugin["config"] = copy.deepcopy(plugin_configs[plugin_id])
        if plugin["isolation"] != "process":
            for key in FOR_PROCESSES:
                del plugin[key]
    for path, written in config.source.written.items():
        if path[:1] == ("plugins",) and path[2:3] == ("config",):
            _put(data, path, written)
    return data


def config_yaml(config: Config, plugin_configs: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns :func:`config_data` as YAML that loads as the same configuration."""
    return yaml.dump(
        config_data(config, plugin_configs), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def _put(data: Any, path: KeyPath, value: str) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value


class _Dumper(yaml.SafeDumper):
    """Quotes a string that the reader of configurations, which differs from PyYAML's, would not read as a string."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        is_text = plain_value(text) == text and "${" not in text
    except ValueError:
        is_text = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text else '"')


_Dumper.add_representer(str, _represent_text)
