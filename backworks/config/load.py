"""Turns a file or a dict into a :class:`Config`, or reports all errors at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from backworks.config.checks import cross_check, suggestion
from backworks.config.models import (
    Config,
    DiscoveryConfig,
    EndpointConfig,
    PluginConfig,
    RuntimeConfig,
    ServerConfig,
)
from backworks.config.reader import read_dict, read_file
from backworks.config.source import KeyPath, Problem, Source, show
from backworks.config.supervision import BreakerConfig, LimitsConfig, RestartConfig
from backworks.errors import ConfigError
from backworks.settings import Settings

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["as_config", "config_schema", "load_config", "parse_config"]


def load_config(path: str | PathLike[str]) -> Config:
    """Reads a configuration from a YAML file.

    Args:
        path: The file. Relative paths in it start at its directory. Errors name the file as it is given here.

    Raises:
        ConfigError: The configuration is not valid; ``errors`` has one line for each problem.
    """
    return _validate(read_file(path))


def parse_config(data: Mapping[str, object], *, base: str | PathLike[str] | None = None) -> Config:
    """Reads a configuration from a dict, and expands ``${NAME}`` in every string as in a file.

    Args:
        data: The content of a configuration file.
        base: The directory at which relative paths start; by default the current directory.

    Raises:
        ConfigError: The configuration is not valid. Each line starts with the path of the value, as there is no file.
        TypeError: ``data`` is not a mapping.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"the configuration must be a mapping, not {type(data).__name__}")
    return _validate(read_dict(data, Path(base or ".").absolute()))


def as_config(config: Config | str | PathLike[str] | Mapping[str, object]) -> Config:
    """Returns the configuration: the given object itself, or what :func:`load_config` or :func:`parse_config` read.

    Raises:
        ConfigError: The configuration is not valid.
    """
    if isinstance(config, Config):
        return config
    return parse_config(config) if isinstance(config, Mapping) else load_config(config)


def config_schema() -> dict[str, Any]:
    """Returns the JSON Schema (2020-12) of a configuration file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _validate(source: Source) -> Config:
    if not isinstance(source.data, Mapping) and not source.problems:
        text = f"the configuration must be a mapping with {_keys(Config)}, not {show(source.data)}"
        raise ConfigError(source.lines([Problem((), text)]))
    config, problems = None, []
    try:
        config = Config.model_validate(_without_extensions(source.data), context={"source": source})
    except ValidationError as errors:
        # Pydantic also reports a default that depends on an invalid field; only the field itself is at fault.
        found = [error for error in errors.errors() if error["type"] != "default_factory_not_called"]
        problems += [_problem(error, source) for error in found]
    problems += cross_check(source.data, Settings.isolation)
    problems = [problem for problem in problems if problem.path not in source.holes]
    # An anchor in an extension is read again, and checked, at each alias.
    problems += [problem for problem in source.problems if not _is_extension(problem.path)]
    if config is None or problems:
        raise ConfigError(source.lines(problems))
    return config


def _without_extensions(data: Any) -> Any:
    """Returns the data without top-level keys such as ``x-defaults``, which files use for anchors."""
    return {key: value for key, value in data.items() if not _is_extension((key,))} if data else data


def _is_extension(path: KeyPath) -> bool:
    return bool(path) and str(path[0]).startswith("x-")


def _problem(error: Any, source: Source) -> Problem:
    path = _as_written(tuple(error["loc"]), source.data)
    kind, value = error["type"], error["input"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = list(_fields(path[:-1]))
        return Problem(path, f"unknown key; {suggestion(str(path[-1]), known)}", at_key=True)
    if kind == "missing":
        return Problem(path, f"is missing; add it, for example {path[-1]}: {_example(path)}", at_key=True)
    if kind == "backworks":
        text = error["msg"]
    elif kind in ("tuple_type", "list_type"):
        text = f"must be a list, not {show(value)}"
    elif kind in ("model_type", "dataclass_type"):
        text = f"must be a mapping with {_keys(_section_at(path))}, not {show(value)}"
    else:
        text = f"must be a mapping, not {show(value)}"
    if path in source.written:
        text += f" (expanded from {show(source.written[path])})"
    return Problem(path, text)


def _as_written(path: KeyPath, data: object) -> KeyPath:
    """Returns the path in the file, which can have ``method: GET`` where the model has ``methods: [GET]``."""
    match path:
        case ("endpoints", str(name), "methods", 0):
            endpoint: Any = data["endpoints"][name] if isinstance(data, Mapping) else {}
            if "method" in endpoint and "methods" not in endpoint:
                return ("endpoints", name, "method")
    return path


def _section_at(path: KeyPath) -> type | None:
    match path:
        case ():
            return Config
        case ("server",):
            return ServerConfig
        case ("plugin_discovery",):
            return DiscoveryConfig
        case ("plugins", _):
            return PluginConfig
        case ("plugins", _, "restart"):
            return RestartConfig
        case ("plugins", _, "breaker"):
            return BreakerConfig
        case ("plugins", _, "limits"):
            return LimitsConfig
        case ("endpoints", _):
            return EndpointConfig
        case ("endpoints", _, "runtime"):
            return RuntimeConfig
    return None


def _fields(path: KeyPath) -> tuple[str, ...]:
    section = _section_at(path)
    names = _names(section)
    return ("method", *names) if section is EndpointConfig else names


def _names(section: Any) -> tuple[str, ...]:
    if section is None:
        return ()
    return (
        tuple(section.model_fields) if issubclass(section, BaseModel) else tuple(each.name for each in fields(section))
    )


def _keys(section: type | None) -> str:
    *most, last = _names(section) or ("",)
    return f"{', '.join(most)} and {last}"


def _example(path: KeyPath) -> str:
    section = _section_at(path[:-1])
    examples = None
    if section is not None and issubclass(section, BaseModel):  # the other sections have no required fields
        examples = section.model_fields[str(path[-1])].examples
    return json.dumps(examples[0]) if examples else "..."
