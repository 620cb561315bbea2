"""Generates the reference of the configuration from its JSON Schema."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["page"]

_HEAD = """# The keys of the configuration

Generated from the output of `backworks config schema`.
Any value can be replaced by `${NAME}` or `${NAME:-default}`, from the environment.
[Configuration](../configuration.md) has the rules, and an example with every key."""

#: The path of each part of the schema in the file.
_NAMES = {"plugins": "plugins.NAME", "endpoints": "endpoints.PATH"}


def page(schema: dict[str, Any]) -> str:
    """Returns the page in Markdown: one table for each level of the file."""
    out = [_HEAD]
    for key, value in schema["properties"].items():
        out += _level(_NAMES.get(key, key), value, schema["$defs"])
    return "\n\n".join(out) + "\n"


def _level(name: str, value: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Returns the section of an object, followed by those of nested objects."""
    found = _object(value, definitions)
    if found is None:
        raise ValueError(f"{name} has no keys")
    text = value.get("description") or found.get("description", "")
    out = [f"## `{name}`", _prose(text)]
    rows = ["| key | accepted | default | |", "| --- | --- | --- | --- |"]
    below: list[str] = []
    for key, each in found["properties"].items():
        inner = _object(each, definitions)
        accepted = f"[see its keys](#{_slug(f'{name}.{key}')})" if inner else _accepted(each)
        if inner and any(one.get("type") == "boolean" for one in each.get("anyOf", ())):
            accepted += ", true or false"
        default = "" if inner or "default" not in each else f"`{json.dumps(each['default'])}`"
        required = "**required**" if key in found.get("required", ()) else default
        rows.append(f"| `{key}` | {accepted} | {required} | {_cell(each.get('description', ''))} |")
        if inner:
            below += _level(f"{name}.{key}", each, definitions)
    out.append("\n".join(rows))
    return [f"({_slug(name)})=", *out, *below]


def _slug(name: str) -> str:
    return f"config-{name.lower().replace('.', '-').replace('_', '-')}"


def _object(value: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the object with keys that a value is or may be, or that each of its members is."""
    if "$ref" in value:
        return definitions[value["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
    members = value.get("additionalProperties")
    for each in (*value.get("anyOf", ()), *([members] if isinstance(members, dict) else ())):
        if found := _object(each, definitions):
            return found
    return None


def _accepted(value: dict[str, Any]) -> str:
    """Describes the accepted values."""
    kinds = value.get("anyOf", [value])
    patterns = [each["pattern"] for each in kinds if "pattern" in each]
    if any("ms|s|m|h" in pattern for pattern in patterns):
        words = ["a time (`500ms`, `2s`, `1m`) or seconds"]
    elif any("KiB" in pattern for pattern in patterns):
        words = ["a size (`64KiB`, `1MB`) or bytes"]
    else:
        words = [_kind(each) for each in kinds if "pattern" not in each and each.get("type") != "null"]
    if any(each.get("type") == "null" or "null" in each.get("type", ()) for each in kinds):
        words.append("null")
    return " or ".join(dict.fromkeys(words))


def _kind(value: dict[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    kind = value.get("type", "any value")
    kind = next(each for each in kind if each != "null") if isinstance(kind, list) else kind
    if kind == "array":
        return f"a list of {_kind(value['items'])}" if "items" in value else "a list"
    words = {"string": "text", "boolean": "true or false", "object": "an object", "integer": "a number"}
    low, high = value.get("minimum"), value.get("maximum")
    limits = "" if low is None or high is None else f", {low:,} to {high:,}"
    return words.get(kind, kind) + limits


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|")


def _prose(text: str) -> str:
    """Escapes Markdown."""
    return text.replace("{", "\\{").replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")
