"""The plugin that a command is about: a file, or the only plugin of the project in the current directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Subject", "is_library", "subject"]

_CONFIG = "backworks.yaml"


class Subject(NamedTuple):
    """A plugin's library, or its stem, and the plugin's configuration."""

    file: str
    config: Mapping[str, Any]


def subject(file: str | None, config: Mapping[str, Any] | None) -> Subject:
    """Returns what the command line gives, or else what the ``backworks.yaml`` in the current directory says.

    Raises:
        click.UsageError: Without a file, there must be a ``backworks.yaml`` with exactly one library.
        ConfigError: The ``backworks.yaml`` is invalid.
    """
    if file is not None:
        return Subject(file, config or {})
    if not Path(_CONFIG).is_file():
        raise click.UsageError(f"missing FILE: give the plugin's library, or run this beside its {_CONFIG}")
    from backworks.config import load_config
    from backworks.config.plugins import absolute_plugin_configs

    loaded = load_config(_CONFIG)
    libraries = {name: str(each.path) for name, each in loaded.plugins.items() if isinstance(each.path, Path)}
    if len(libraries) != 1:
        found = (
            f"{len(libraries)} plugins with a path ({', '.join(libraries)})" if libraries else "no plugin with a path"
        )
        raise click.UsageError(f"missing FILE: {_CONFIG} has {found}; give the plugin's library")
    ((plugin_id, path),) = libraries.items()
    return Subject(path, absolute_plugin_configs(loaded)[plugin_id] if config is None else config)


def is_library(argument: str) -> bool:
    """Returns whether an argument names a plugin's file, and not an endpoint, which also can start with a slash."""
    from backworks.errors import PluginLoadError
    from backworks.loading.paths import resolve_library

    try:
        resolve_library(argument)
    except PluginLoadError:
        return not argument.startswith("/")
    return True
