"""A plugin's configuration and the JSON Schema of its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Violation", "absolute_paths", "violations"]


class Violation(NamedTuple):
    """One thing that is wrong.

    Attributes:
        where: The keys and indices that lead to it.
        message: What is wrong, in one sentence.
    """

    where: tuple[str | int, ...]
    message: str


def violations(config: Mapping[str, Any], schema: Any) -> tuple[Violation, ...]:
    """Lists what is wrong with a configuration, in the order of its keys.

    Args:
        config: The configuration.
        schema: A JSON Schema, 2020-12. References to other documents are not followed.

    Returns:
        Everything that is wrong; if the schema itself is broken, that alone.
    """
    # Imported when the first plugin with a schema comes: 60 ms that others need not spend.
    import jsonschema
    import referencing.exceptions

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
        found = sorted(validator.iter_errors(dict(config)), key=lambda error: [str(key) for key in error.absolute_path])
    except jsonschema.SchemaError as error:
        return (Violation((), f"the config_schema in the plugin's manifest is no JSON Schema: {error.message}"),)
    except referencing.exceptions.Unresolvable as error:
        return (Violation((), f"the config_schema in the plugin's manifest refers to what is not in it: {error}"),)
    except RecursionError:
        return (Violation((), "the config_schema in the plugin's manifest refers to itself without end"),)
    return tuple(Violation(tuple(error.absolute_path), error.message) for error in found)


def absolute_paths(config: Mapping[str, Any], schema: Any, base: Path) -> dict[str, Any]:
    """Returns the configuration with those texts made absolute that the schema calls ``"format": "path"``.

    The plugin runs in another directory than the one in which its configuration was written, and the host alone knows
    both.

    Args:
        config: The configuration; it is not changed.
        schema: Its JSON Schema; objects within objects are followed through ``properties``.
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
