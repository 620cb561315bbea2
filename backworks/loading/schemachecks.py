"""A JSON Schema validator whose time and memory are bounded, whatever the schema.

A schema comes from a plugin's file, which is not trusted. The validator is ``jsonschema``, with three changes: it stops
when it has used its share of processor time, regular expressions run in linear time, and messages are short.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema.exceptions import best_match
from pydantic_core import SchemaError, SchemaValidator, core_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from jsonschema.exceptions import ValidationError

    Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

__all__ = ["BadSchema", "errors_of"]

#: The processor time for one configuration, in seconds: a schema with a hundred properties needs a hundredth of it.
MAX_TIME = 2.0
#: The work of matching one text, in characters times states of the pattern: three seconds in the worst case.
MAX_MATCHING = 300_000_000
#: No more states than this fit into the size that the engine allows.
_MAX_STATES = 300_000
#: The number of errors, including those of alternatives that do not apply.
MAX_ERRORS = 50_000
#: The length of a message, in characters.
MAX_MESSAGE = 300

_DRAFT = jsonschema.Draft202012Validator


class BadSchema(Exception):
    """A schema cannot be used; the message gives the reason."""


def errors_of(config: Mapping[str, Any], schema: Any) -> Iterator[ValidationError]:
    """Yields the errors of a configuration.

    Args:
        config: The configuration.
        schema: A JSON Schema, 2020-12. References to other documents are not followed.

    Raises:
        BadSchema: The schema is not valid, takes too long, or uses a feature that is not supported.
    """
    import referencing
    import referencing.exceptions

    try:
        if all(f'"{name}": ' in json.dumps(schema) for name in ("unevaluatedProperties", "patternProperties")):
            raise BadSchema("has both unevaluatedProperties and patternProperties; use only one of them")
        validator = _bounded(_Bounds())
        if error := best_match(validator(_DRAFT.META_SCHEMA).iter_errors(schema)):
            raise BadSchema(f"is not a valid JSON Schema: {error.message}")
        yield from validator(schema, registry=referencing.Registry()).iter_errors(dict(config))
    except BadSchema:
        raise
    except referencing.exceptions.Unresolvable as error:
        raise BadSchema(f"has a reference that cannot be resolved: {_short(str(error))}") from None
    except RecursionError:
        raise BadSchema("refers to itself in a loop, or is nested too deeply") from None
    except Exception as error:  # noqa: BLE001  # a reference can lead to a value that is not a schema, and so on
        raise BadSchema(f"cannot be evaluated: {type(error).__name__}: {_short(str(error))}") from None


class _Bounds:
    """Ends a validation that uses too much processor time (wall time depends on other programs) or memory."""

    def __init__(self) -> None:
        self._end = time.thread_time() + MAX_TIME
        self._errors = 0

    def check(self) -> None:
        if time.thread_time() > self._end:
            raise BadSchema(f"takes more than {MAX_TIME:g} s to evaluate; simplify its references and patterns")

    def count_error(self) -> None:
        self._errors += 1
        if self._errors > MAX_ERRORS:
            raise BadSchema(f"causes more than {MAX_ERRORS:,} errors; simplify its references")


def _bounded(bounds: _Bounds) -> Any:
    """Returns a validator class whose every step keeps the bounds."""
    keywords: dict[str, Keyword] = {**_DRAFT.VALIDATORS, **_REPLACED}
    extend: Any = jsonschema.validators.extend  # has no types
    validator = extend(_DRAFT, {name: partial(_step, bounds, keyword) for name, keyword in keywords.items()})
    evolve = validator.evolve

    def evolve_in_time(self: Any, **changes: Any) -> Any:
        # unevaluatedProperties and unevaluatedItems follow references without calling the keywords.
        bounds.check()
        schema = changes.pop("schema", self.schema)
        evolved = evolve(self, schema=True, **changes)  # a schema with "$schema" would select another class
        evolved.schema = schema
        return evolved

    validator.evolve = evolve_in_time
    return validator


def _step(
    bounds: _Bounds, keyword: Keyword, validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    bounds.check()
    for error in keyword(validator, value, instance, schema) or ():
        bounds.count_error()
        error.message = _short(error.message)
        error.args = ()  # it keeps the whole message
        yield error


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}..."


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> SchemaValidator:
    """Compiles a regular expression for an engine that needs linear time and limits the size of the program."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError as error:
        reason = str(error).strip().splitlines()[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ")
        text = f"has a pattern that is not supported, {_short(repr(pattern))}: {reason.rstrip('.')}"
        raise BadSchema(text) from None


def _matches(pattern: str, text: str) -> bool:
    # Any number in a pattern may be a count, and counts may be nested.
    counts = math.prod(max(1, int(number)) for number in re.findall("[0-9]{1,9}", pattern))
    if len(text) * min(len(pattern) * counts, _MAX_STATES) > MAX_MATCHING:
        raise BadSchema(f"has a pattern that takes too long for {len(text):,} characters: {_short(repr(pattern))}")
    return _compiled(pattern).isinstance_python(text)


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield jsonschema.ValidationError(f"{_short(repr(instance))} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    for pattern, subschema in patterns.items():
        for key, value in instance.items():
            if _matches(pattern, key):
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = {
        key: value
        for key, value in instance.items()
        if key not in known and not any(_matches(pattern, key) for pattern in patterns)
    }
    yield from _DRAFT.VALIDATORS["additionalProperties"](validator, allowed, extra, {})


def _unique_items(_validator: Any, unique: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if unique and isinstance(instance, list) and len(set(map(_hashable, instance))) < len(instance):
        yield jsonschema.ValidationError(f"{_short(repr(instance))} has non-unique elements")


def _hashable(value: Any) -> Hashable:
    """Returns an object that equals that of another value exactly if JSON Schema calls the two values equal."""
    match value:
        case Mapping():
            return frozenset((key, _hashable(item)) for key, item in value.items())
        case list():
            return tuple(map(_hashable, value))
        case bool():
            return (bool, value)
        case None | int() | float() | str():
            return value
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_REPLACED: dict[str, Keyword] = {
    "additionalProperties": _additional_properties,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "uniqueItems": _unique_items,
}
