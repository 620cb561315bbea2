"""Checks a plugin's configuration against the JSON Schema in its manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jsonschema import ValidationError

__all__ = ["Violation", "absolute_paths", "missing_files", "violations", "with_defaults", "with_texts"]


#: The number of violations that are reported.
MAX_VIOLATIONS = 100


class Violation(NamedTuple):
    """One violation of a schema.

    Attributes:
        where: The keys and indices that lead to the value.
        message: The violation, in one sentence.
        wants_text: Whether the schema accepts a string, but the value is a number, a bool or null.
    """

    where: tuple[str | int, ...]
    message: str
    wants_text: bool = False


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
    return tuple(Violation(tuple(error.absolute_path), error.message, _wants_text(error)) for error in found)


def _wants_text(error: ValidationError) -> bool:
    accepted: Any = error.validator_value
    return error.validator == "type" and "string" in accepted and not isinstance(error.instance, (str, Mapping, list))


def with_texts(config: Any, schema: Any, texts: Mapping[tuple[str | int, ...], str]) -> Any:
    """Returns the configuration with the text of a variable wherever its schema accepts a string, but not its value.

    An unquoted variable whose text is ``007`` is the number 7, unless the schema requires a string.

    Args:
        config: The configuration, which stays unchanged.
        schema: Its JSON Schema; only ``properties`` and ``items`` are followed.
        texts: The texts, each with the keys and indices that lead to the value.
    """
    if () in texts:
        return texts[()] if _takes_only_text(schema, config) else config
    if not texts or not isinstance(schema, Mapping):
        return config
    if isinstance(config, Mapping):
        return {key: with_texts(value, _property(schema, key), _below(texts, key)) for key, value in config.items()}
    items = schema.get("items")
    return [with_texts(value, items, _below(texts, index)) for index, value in enumerate(config)]


def _below(texts: Mapping[tuple[str | int, ...], str], key: str | int) -> Mapping[tuple[str | int, ...], str]:
    return {where[1:]: text for where, text in texts.items() if where[0] == key}


def _property(schema: Mapping[str, Any], key: str) -> Any:
    properties = schema.get("properties")
    return properties.get(key) if isinstance(properties, Mapping) else None


def _takes_only_text(schema: Any, value: Any) -> bool:
    types = schema.get("type") if isinstance(schema, Mapping) else None
    types = [types] if isinstance(types, str) else types
    return isinstance(types, list) and "string" in types and not any(name in types for name in _types(value))


def _types(value: Any) -> tuple[str, ...]:
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case int():
            return ("integer", "number")
        case float():
            return ("number", "integer") if value.is_integer() else ("number",)
    return ("string",)


def with_defaults(config: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    """Returns the configuration with each absent value that has a ``default`` in its schema.

    Args:
        config: The configuration, which stays unchanged.
        schema: Its JSON Schema; only ``properties`` is followed into nested objects.
    """
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return dict(config)
    defaults = {
        key: each["default"] for key, each in properties.items() if isinstance(each, Mapping) and "default" in each
    }
    return {
        key: with_defaults(value, properties.get(key)) if isinstance(value, Mapping) else value
        for key, value in {**config, **{key: defaults[key] for key in defaults if key not in config}}.items()
    }


def missing_files(config: Mapping[str, Any], schema: Any) -> Iterator[tuple[str, ...]]:
    """Yields the keys that lead to each path, as :func:`absolute_paths` finds them, at which there is no file.

    Args:
        config: A configuration with absolute paths.
        schema: Its JSON Schema.
    """
    for key, value in config.items():
        found = _property(schema, key) if isinstance(schema, Mapping) else None
        if isinstance(value, Mapping):
            yield from ((key, *rest) for rest in missing_files(value, found))
        elif _is_path(value, found) and not os.path.lexists(value):
            yield (key,)


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
    return str(base / value) if _is_path(value, schema) else value


def _is_path(value: Any, schema: Any) -> bool:
    return isinstance(value, str) and isinstance(schema, Mapping) and schema.get("format") == "path"
