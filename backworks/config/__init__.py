"""Reads a YAML file into frozen models and reports all errors at once, each with its line and column."""

from backworks.config.checks import RESERVED_PATHS, warnings_of
from backworks.config.load import as_config, config_schema, load_config, parse_config
from backworks.config.models import (
    Config,
    DiscoveryConfig,
    EndpointConfig,
    PluginConfig,
    RuntimeConfig,
    ServerConfig,
)

__all__ = [
    "RESERVED_PATHS",
    "Config",
    "DiscoveryConfig",
    "EndpointConfig",
    "PluginConfig",
    "RuntimeConfig",
    "ServerConfig",
    "as_config",
    "config_schema",
    "load_config",
    "parse_config",
    "warnings_of",
]
