"""Checks a plugin's configuration against the JSON Schema in its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Violation", "absolute_paths", "violations"]


#: The number of violations that are reported.
MAX_VIOLATIONS = 100


class Violation(NamedTuple):
    """One violation of a schema.

    Attributes:
        where: The keys and indices that lead to the value.
        message: The violation, in one sentence.
    """

    where: tuple[str | int, ...]
    message: str


def violations(config: Mapping[str, Any], schema: Any) -> tuple[Violation, ...]:
    """Lists the violations of a configuration, sorted by key.

    Args:
        config: The configuration.
        schema: A JSON Schema, 2020-12. References to other documents are not followed.

    Returns:
        The violations, at most 100; if the schema itself is not valid, only that.
    """
    # Imported here because it takes 60 ms and only plugins with a schema need it.
    from backworks.loading.schemachecks import BadSchema, errors_of

    try:
        found = [*islice(errors_of(config, schema), MAX_VIOLATIONS)]
    except BadSchema as error:
        return (Violation((), f"config_schema in the plugin's manifest {error}"),)
    found.sort(key=lambda error: [str(key) for key in error.absolute_path])
    return tuple(Violation(tuple(error.absolute_path), error.message) for error in found)


def absolute_paths(config: Mapping[str, Any], schema: Any, base: Path) -> dict[str, Any]:
    """Returns the configuration with an absolute path for each string whose schema has ``"format": "path"``.

    A plugin does not know the directory of its configuration file, so the host resolves relative paths.

    Args:
        config: The configuration, which stays unchanged.
        schema: Its JSON Schema; only ``properties`` is followed into nested objects.
        base: The directory at which relative paths start.
    """
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return dict(config)
    return {key: _absolute_path(value, properties.get(key), base) for key, value in config.items()}


def _absolute_path(value: Any, schema: Any, base: Path) -> Any:
    if isinstance(value, Mapping):
        return absolute_paths(value, schema, base)
    if isinstance(value, str) and isinstance(schema, Mapping) and schema.get("format") == "path":
        return str(base / value)
    return value
